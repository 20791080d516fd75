"""A file appears complete or not at all, whichever call fails."""

import errno

import pyarrow as pa
import pytest

from pipeline.files import Files
from pipeline.parts import Task, commit_name, execute, read_commit

TABLE = pa.table({"x": [1, 2, 3], "text": ["a", "b", "c"]})


class Failing(Files):
    """The file layer with a call that fails: the n-th of those that change the disk."""

    def __init__(self, root, *, fail_at: int, error: int = errno.ENOSPC) -> None:
        super().__init__(root)
        self.calls, self.fail_at, self.error = 0, fail_at, error

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError(self.error, "injected")

    def create(self, name):
        self._count()
        return super().create(name)

    def sync(self, name):
        self._count()
        super().sync(name)

    def rename(self, old, new):
        self._count()
        super().rename(old, new)

    def open(self, name):
        self._count()
        return super().open(name)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EMFILE])
def test_the_nth_call_fails_and_nothing_half_made_is_seen(tmp_path, error):
    for fail_at in range(1, 20):
        files = Failing(tmp_path / str(fail_at), fail_at=fail_at, error=error)
        try:
            files.write_table("p/u.docs.parquet", TABLE)
        except OSError as caught:
            if caught.errno != error:
                raise
            clean = Files(files.root)
            if clean.exists("p/u.docs.parquet"):  # only the last sync can come too late to matter
                assert clean.read_table("p/u.docs.parquet").equals(TABLE)
            assert set(clean.names("p")) <= {"u.docs.parquet"}
        else:
            assert fail_at > 5
            return
    pytest.fail("no call number was free of the fault")


def test_a_flipped_bit_in_a_part_is_refused(tmp_path):
    files = Files(tmp_path)
    table = pa.table({"text": [f"document number {n}, all of them different" for n in range(500)]})
    written = files.write_table("a.parquet", table)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[written.size_bytes // 3] ^= 1
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(OSError, match="damaged"):
        files.read_table("a.parquet")


def work(output, *, value):
    output.table("docs", pa.table({"x": [value]}))
    return {"rows": 1}


def test_a_committed_part_is_not_made_again(tmp_path):
    task = Task(phase="p-1", unit="u", function="test_files:work", arguments={"value": 7})
    first = execute(str(tmp_path), task)
    again = execute(str(tmp_path), Task(phase="p-1", unit="u", function="test_files:missing"))
    assert again.files == first.files
    assert again.counts == {"rows": 1}


def test_a_damaged_commit_record_is_named(tmp_path):
    (tmp_path / "p-1").mkdir()
    (tmp_path / commit_name("p-1", "u")).write_text("{")
    with pytest.raises(ValueError, match="no commit record"):
        read_commit(Files(tmp_path), "p-1", "u")
