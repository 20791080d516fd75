"""Learning what main text is: labels by alignment, sites kept apart, the same bytes from the same pages."""

import gzip
import io
import json
import tarfile

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.extractor import examples, site_of
from pipeline.extractor_training import Example, Training, judge_bytes, labels_for, train
from pipeline.models import load_judge
from pipeline.parser_child import ParserChild
from stages.extract import ExtractSettings, RawRecord, extract_one
from stages.extract_tamis import Judge, blocks_of, judged

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau".split()  # noqa: SIM905


def sentence(seed, length=14):
    return (
        " ".join(WORDS[(seed * 7 + number * (seed % 5 + 1)) % len(WORDS)] + str(seed) for number in range(length)) + "."
    )


def page(number):
    """A page and its main text: a menu, three paragraphs, a box of the kind that a rule of thumb takes for text."""
    main = [sentence(100 * number + k) for k in range(3)]
    box = sentence(100 * number + 50)
    html = (
        "<html><body><ul class=menu>" + "<li><a href=x>menu entry</a></li>" * 5 + "</ul><div class=story>"
        + "".join(f"<p>{text}</p>" for text in main)
        + f"</div><div class=related-box><p>{box}</p></div></body></html>"
    )  # fmt: skip
    return html, "\n".join(main), box


SMALL = Training(first_trees=8, second_trees=8, leaves=4, learning_rate=0.3, min_rows=2)


def lessons(count=24):
    return [
        Example(page=html, reference=text, site=f"site{number}.example", weight=1.0)
        for number, (html, text, _) in enumerate(page(number) for number in range(count))
    ]


def test_a_block_is_main_text_if_its_words_run_as_in_the_reference():
    tokens = load_judge().tokens
    blocks = blocks_of(b"<h2>Note</h2><p>one two three four five<p>six seven<p>five four three two one", tokens)
    assert labels_for(blocks, "one two three four five six seven").tolist() == [0, 1, 1, 0]
    # A heading of one word counts where it stands between what is main text.
    blocks = blocks_of(b"<p>one two three<h2>Note</h2><p>four five six", tokens)
    assert labels_for(blocks, "one two three Note four five six").tolist() == [1, 1, 1]


def test_the_same_pages_give_the_same_judge_and_it_has_learned():
    pytest.importorskip("lightgbm", reason="training needs the extra `extractor`")
    data = judge_bytes(train(lessons(), SMALL))
    assert judge_bytes(train(lessons(), SMALL)) == data
    judge = Judge.from_bytes(data)
    html, text, box = page(77)
    found = judged(html.encode(), judge).text()
    assert found == text
    assert box not in found


def gold_set(folder, name, rows):
    (folder / name).mkdir(parents=True)
    with tarfile.open(folder / name / "html.tar.xz", "w:xz") as archive:
        for row in rows:
            data = row.pop("html").encode()
            member = tarfile.TarInfo(f"{name}/{row['id']}.html")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with gzip.open(folder / name / "gold.jsonl.gz", "wt") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def gold(tmp_path):
    def row(number, site):
        html, text, _ = page(number)
        return {
            "id": str(number),
            "url": f"https://www.{site}/{number}",
            "domain": site,
            "html": html,
            "gold_text": text,
        }

    gold_set(tmp_path, "first", [row(number, f"one{number}.co.uk") for number in range(12)])
    gold_set(tmp_path, "second", [row(20, "one3.co.uk"), row(21, "other.example")])
    return tmp_path


def test_a_set_that_is_left_out_takes_its_sites_with_it(gold):
    everything, counts = examples(gold, (), leave_out=())
    assert counts == {"first": 12, "second": 2}
    without, counts = examples(gold, (), leave_out=("second",))
    assert counts == {"first": 11}
    assert {each.site for each in everything} - {each.site for each in without} == {"one3.co.uk", "other.example"}
    with pytest.raises(ValueError, match="has first, second"):
        examples(gold, (), leave_out=("third",))


def test_a_site_is_its_registered_domain():
    assert site_of("https://a.b.example.co.uk/x") == "example.co.uk"
    assert site_of(None, "www.example.org") == "example.org"


def test_the_command_writes_a_judge_and_names_its_sources(gold, tmp_path):
    pytest.importorskip("lightgbm", reason="training needs the extra `extractor`")
    out = tmp_path / "made/judge.npz"
    done = CliRunner().invoke(app, ["extractor", "train", str(gold), "--out", str(out), "--leave-out", "second"])
    assert done.exit_code == 0, done.output
    assert "11 of first" in done.output
    assert isinstance(load_judge(out), Judge)
    wrong = CliRunner().invoke(app, ["extractor", "train", str(gold), "--out", str(out), "--leave-out", "thrid"])
    assert wrong.exit_code == 2


def test_the_parser_child_gives_what_the_engine_gives():
    html, _, _ = page(5)
    record = RawRecord(content=html.encode(), media_type="text/html")
    settings = ExtractSettings(engine="tamis", format="markdown")
    with ParserChild() as child:
        assert child.call(record, settings) == extract_one(record, settings, judge=load_judge())


def test_markdown_is_refused_where_the_engine_cannot_give_it():
    with pytest.raises(ValueError, match="markdown is not possible with engine: resiliparse"):
        ExtractSettings(engine="resiliparse", format="markdown")
