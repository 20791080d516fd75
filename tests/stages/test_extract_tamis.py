"""The engine tamis: main text of pages, with the bundled judge; nothing that a page does makes it fail or lose text."""

import hashlib
import random

import numpy as np
import pytest

from pipeline.models import builtin_path, load_judge
from stages.extract import ExtractSettings, RawRecord, extract_one
from stages.extract_tamis import Judge, add, blocks_of, chosen, features, judged, measured, scores_from, second_features
from stages.html_blocks import TAG
from stages.html_names import NUMBER

JUDGE = load_judge()
TAMIS = ExtractSettings(engine="tamis")
SENTENCE = {
    "en": "The old bridge over the river was built by the people of the town, and it has stood there ever since. ",
    "de": "Die alte Brücke über den Fluss wurde von den Leuten der Stadt gebaut, und sie steht noch immer dort. ",
    "zh": "这座古老的桥是由镇上的人们在那年夏天建造的，后来它成为全省最有名的建筑之一。",
    "ar": "بنى أهل المدينة الجسر القديم فوق النهر في صيف ذلك العام، وما زال قائما هناك حتى اليوم. ",
    "ru": "Старый мост через реку был построен жителями города летом того года, и он стоит там до сих пор. ",
}


def article(sentence, paragraphs=6):
    menu = "".join(f"<li><a href='/{name}'>{name}</a></li>" for name in ("Home", "News", "Sport", "Contact"))
    body = "".join(f"<p>{sentence * 3}{number}</p>" for number in range(paragraphs))
    return (
        f"<html><head><title>The bridge</title><style>p {{}}</style></head><body><nav><ul>{menu}</ul></nav>"
        f"<main><article class='post-content'><h1>The bridge</h1>{body}</article></main>"
        f"<footer class='site-footer'><p>Copyright 2026 <a href='/imprint'>Imprint</a></p></footer></body></html>"
    )


def extracted(page, **settings):
    record = RawRecord(
        content=page.encode() if isinstance(page, str) else page, media_type="text/html", charset="utf-8"
    )
    return extract_one(record, ExtractSettings(engine="tamis", **settings), judge=JUDGE)


@pytest.mark.parametrize("language", SENTENCE)
def test_an_article_is_kept_whole_and_what_surrounds_it_is_not(language):
    found = extracted(article(SENTENCE[language]))
    assert found.title == "The bridge"
    for number in range(6):
        assert f"{SENTENCE[language] * 3}{number}".strip() in found.text
    for other in ("Sport", "Contact", "Imprint"):
        assert other not in found.text


def test_markdown_is_the_same_text_with_marks():
    plain, marked = extracted(article(SENTENCE["en"])), extracted(article(SENTENCE["en"]), format="markdown")
    assert "\n\n" in marked.text
    assert marked.text.replace("\n\n", "\n").replace("# ", "") == plain.text


def test_a_page_without_text_is_a_row():
    for page in ("<html><body><script>x()</script></body></html>", "<img src=x>", "<title>only a title</title>"):
        found = extracted(page)
        assert (found.reason, found.text) == ("no_text", "")


LAST = "These are the last words of a page that means no good."
HOSTILE = {
    "nested 300 deep": "<div>" * 300 + article(SENTENCE["en"]) + "</div>" * 300,
    "nested 50,000 deep": "<div>" * 50_000 + article(SENTENCE["en"]) + "</div>" * 50_000,
    "nested tables": "<table><tr><td>" * 2_000 + SENTENCE["en"] * 9 + "</td></tr></table>" * 2_000,
    "nested lists": "<ul><li>" * 2_000 + SENTENCE["en"] * 9 + "</li></ul>" * 2_000,
    "50,000 attributes": "<div " + " ".join(f"a{number}=1" for number in range(50_000)) + ">",
    "unclosed": "<p><b><i>word and word" * 10_000,
    "a text of 11 MB": "<p>" + "word " * 2_200_000 + "</p>",
    "an attribute of 11 MB": "<img alt='" + "x" * 11_000_000 + "'>",
    "end tags of nothing": "<div>" * 2_000 + "</section></td></li>" * 20_000,
    "titles without end": "<title>" * 20_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_behind_hostile_markup_is_lost(name):
    page = f"<html><body>{HOSTILE[name]}<p>{LAST}</p>"
    blocks = blocks_of(page.encode(), JUDGE.tokens)
    assert blocks.plain(len(blocks) - 1) == LAST
    assert judged(page.encode(), JUDGE).visible_characters >= len(LAST.replace(" ", ""))


def test_memory_is_bounded_by_the_number_of_tags():
    page = b"<p>four words and more</p>\n" * 20_000
    found = judged(page, JUDGE)
    assert len(found.blocks) == 20_000
    columns = (found.blocks.wide, found.blocks.narrow, measured(found.blocks).sizes, measured(found.blocks).counts)
    assert sum(column.nbytes for column in columns) + found.scores.nbytes < 7 * len(page)


SNIPPETS = [
    "<",
    ">",
    "&",
    "&#",
    "</",
    "<!--",
    "<script>",
    "<pre>",
    "<td>",
    "'",
    '"',
    "=",
    "\0",
    "<li>",
    "</table>",
    "\x1f\x02",
]


#: Of the texts of 300 mutated pages, with the bundled judge. All that decides is whole numbers, so it is the same on
#: every processor and with every version of the compiler; a new judge or a changed rule gives a new one.
MUTATED_SHA256 = "f8ca1a0f0a323a4b0464c085b8534e1ba7cbf20a9074d4d6c79accc1128f2b39"


def test_mutated_pages_never_fail_and_give_clean_text_the_same_everywhere():
    digest = hashlib.sha256()
    dice = random.Random(0)
    whole = article(SENTENCE["en"]) + article(SENTENCE["zh"]) + "<table><tr><td>a<td>b</table><pre>x\n y</pre>"
    for number in range(300):
        page = whole
        for _ in range(dice.randint(1, 12)):
            at = dice.randrange(len(page))
            piece = dice.choice([*SNIPPETS, page[dice.randrange(len(page)) :][:60]])
            page = page[:at] + piece * dice.randint(1, 9) + page[at + dice.randint(0, 40) :]
        settings = ExtractSettings(engine="tamis", format="markdown" if number % 2 else "text")
        record = RawRecord(content=page.encode("utf-8"), media_type="text/html")
        found = extract_one(record, settings, judge=JUDGE)
        assert found.reason in (None, "no_text", "bad_encoding")
        assert all(letter.isprintable() or letter in "\n\t" or ord(letter) > 0x9F for letter in found.text)
        assert found.text == found.text.strip()
        assert extract_one(record, settings, judge=JUDGE) == found
        digest.update(f"{found.reason}\0{found.text}\0".encode())
    assert digest.hexdigest() == MUTATED_SHA256


def test_bytes_that_are_no_text_are_refused():
    assert extracted(random.Random(0).randbytes(20_000)).reason == "bad_encoding"


def test_scores_do_not_depend_on_how_many_blocks_are_judged_at_a_time():
    page = (article(SENTENCE["en"], 40) + article(SENTENCE["de"], 90) + "<h2>Comments</h2><p>Nice!</p>" * 80).encode()
    blocks = blocks_of(page, JUDGE.tokens)
    made = measured(blocks)
    rows = features(blocks, made)
    first = scores_from(add(rows, JUDGE.first))
    second = scores_from(add(second_features(blocks, made, rows, first), JUDGE.second))
    second[blocks.narrow[:, TAG] == NUMBER["title"]] = -32_000
    assert len(blocks) > 200
    assert judged(page, JUDGE).scores.tolist() == second.tolist()


def test_all_that_decides_is_whole_numbers():
    for array in (JUDGE.tokens, JUDGE.first.nodes, JUDGE.first.leaves, JUDGE.second.nodes, JUDGE.second.leaves):
        assert array.dtype.kind == "i"
    assert judged(article(SENTENCE["en"]).encode(), JUDGE).scores.dtype == np.int16


def test_blocks_are_chosen_for_the_best_expected_f1():
    sizes = np.array([100, 100, 100, 100])
    certain = np.array([5000, 5000, -500, -5000], np.int16)
    assert chosen(certain, sizes, 0).tolist() == [True, True, False, False]
    # Where nothing is certain, what is less likely than not is taken too.
    unsure = np.array([-600, -700, -800, -8000], np.int16)
    assert chosen(unsure, sizes, 0).tolist() == [True, True, True, False]
    assert chosen(np.empty(0, np.int16), np.empty(0), 0).tolist() == []


def test_blocks_are_shown_with_their_scores():
    shown = judged(article(SENTENCE["en"]).encode(), JUDGE).shown()
    kept = {text: chance for text, chance, keep in shown if keep}
    assert any(text.startswith("The old bridge") and chance > 0.5 for text, chance in kept.items())
    assert all(0 <= chance <= 1 for _, chance, _ in shown)


def test_the_bundled_judge_is_the_released_one(tmp_path, monkeypatch):
    whole = builtin_path("builtin/extractor").read_bytes()
    assert len(whole) < 3_000_000
    other = tmp_path / "judge.npz"
    other.write_bytes(whole)
    assert isinstance(load_judge(other), Judge)
    other.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a judge"):
        load_judge(other)
    monkeypatch.setitem(load_judge.__globals__["BUILTIN"], "extractor", "0" * 64)
    with pytest.raises(ValueError, match="not the file that was released"):
        load_judge()
