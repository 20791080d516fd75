"""A small crawl with everything that a run must survive: ordinary pages, copies, near copies, junk and damage."""

import random
from pathlib import Path

from warcs import http, member, record


def _words(text: str) -> list[str]:
    return text.split()


_NOUNS = _words("""miller engineer neighbour captain sister committee merchant gardener teacher river bridge harvest
winter
letter window map boat house garden market road forest village school story question answer machine engine paper
morning evening table chair kitchen doctor farmer worker painter singer valley island coast tower wall gate field
orchard stable bakery library museum station harbour lantern ladder bucket blanket""")
_VERBS = _words("""measured carried described repaired remembered painted counted defended borrowed explained watched
followed
visited bought sold opened closed cleaned found lost planned built moved studied admired feared praised""")
_QUALITIES = _words("""old young northern heavy quiet narrow bright empty distant careful patient sudden ordinary famous
broken
wooden early late gentle curious proud tired hungry friendly strange simple expensive green golden cold""")
_LINKS = ["because", "although", "while", "after", "before", "so that", "and then", "whenever", "until", "but"]


_GERMAN = (
    "Der Müller hat gestern die Brücke gemessen und danach lange mit dem alten Kapitän gesprochen, "
    "weil das Wetter schlecht war."
)


def _sentence(draw: random.Random) -> str:
    def thing() -> str:
        return f"{draw.choice(['the', 'a', 'every', 'that'])} {draw.choice(_QUALITIES)} {draw.choice(_NOUNS)}"

    clause = f"{thing()} {draw.choice(_VERBS)} {thing()}"
    place = f"{draw.choice(['near', 'behind', 'with', 'from', 'beside'])} {thing()}"
    text = f"{clause} {place} {draw.choice(_LINKS)} {thing()} {draw.choice(_VERBS)} {thing()}."
    return text[0].upper() + text[1:]


def prose(seed: int, sentences: int = 24) -> list[str]:
    """Paragraphs of four English sentences, different for every seed."""
    draw = random.Random(seed)
    text = [_sentence(draw) for _ in range(sentences)]
    return [" ".join(text[start : start + 4]) for start in range(0, len(text), 4)]


def page(paragraphs: list[str], *, title: str = "A page") -> bytes:
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    head = f"<html><head><title>{title}</title></head><body><nav><a href='/'>Home</a></nav>"
    return f"{head}<article><h1>{title}</h1>{body}</article></body></html>".encode()


def make_crawl(folder: Path, *, files: int = 3, pages_per_file: int = 20) -> Path:
    """WARC files with distinct pages, and in the first one a copy, a near copy, junk and a damaged member."""
    folder.mkdir(parents=True)
    for number in range(files):
        members = []
        for n in range(pages_per_file):
            seed = number * 1000 + n
            members.append(member(record(http(page(prose(seed))), url=f"http://site{number}.test/{n}")))
        if number == 0:
            members += _trouble()
        (folder / f"crawl-{number:05d}.warc.gz").write_bytes(b"".join(members))
    (folder / "empty.html").write_bytes(b"")
    (folder / "broken.pdf").write_bytes(b"<html><body><p>Not a PDF at all.</p></body></html>")
    (folder / "page.html").write_bytes(page(prose(77_777)))
    return folder


def _trouble() -> list[bytes]:
    near = prose(3)
    near[-1] = near[-1].replace("the", "this", 1)
    blocks = {
        "copy": http(page(prose(2))),
        "near": http(page(near)),
        "short": http(page(["Too short."])),
        "spam": http(page(["Buy it now and pay for it later, says the man # # # # # # # # # # # #. " * 12])),
        "random": http(random.Random(5).randbytes(4000)),
        "nul": http(page([prose(9_999)[0].replace("the", "t\0he"), *prose(9_999)[1:]])),
        "german": http(page([_GERMAN] * 6)),
        "gone": http(b"gone", status="404 Not Found"),
    }  # fmt: skip
    members = [member(record(block, url=f"http://trouble.test/{name}")) for name, block in blocks.items()]
    damaged = bytearray(members[2])
    damaged[len(damaged) // 2] ^= 0xFF
    damaged[len(damaged) // 2 + 1] ^= 0xFF
    lying = member(record(http(page(prose(8_888))), url="http://trouble.test/lying", length="7"))
    return [*members[:4], bytes(damaged), *members[4:], lying]


RECIPE = """\
name: test
input: {{paths: ["{crawl}"], split_bytes: {split_bytes}}}
stages:
  - {{type: extract, engine: trafilatura}}
  - {{type: language, keep: [en], min_score: 0.5}}
  - {{type: gopher_quality, min_stop_words: 1}}
  - {{type: gopher_repetition}}
  - {{type: c4_quality}}
  - {{type: fineweb_quality}}
  - {{type: quality, min_score: 0.0}}
  - {{type: toxicity, max_score: 0.9}}
  - {{type: exact_dedup}}
  - {{type: near_dedup, threshold: 0.7}}
  - {{type: bloom, seen: "{seen}"}}
tokenizer:
  vocab_size: 600
  sample_bytes: 40_000
  sample: [{{source: "crawl-00001*", weight: 2}}, {{language: en}}, {{weight: 0}}]
shards: {{tokens_per_shard: 4000, validation_fraction: 0.1, seed: 1}}
"""


def write_recipe(folder: Path, crawl: Path, *, split_bytes: int = 1 << 20, name: str = "r.yaml") -> Path:
    path = folder / name
    path.write_text(RECIPE.format(crawl=crawl, split_bytes=split_bytes, seen=folder / "seen"))
    return path
