import gzip
import random
import zlib

import pytest

from stages.charset import decode

TEXTS = {
    "japanese": "これは日本語の文章です。漢字とひらがなが混ざっています。今日は天気がいいので散歩に行きましょう。" * 5,
    "russian": "Съешь же ещё этих мягких французских булок, да выпей чаю. Это обычный текст по-русски. " * 5,
    "chinese": "这是一个中文网页，里面有很多汉字。今天天气很好，我们去公园散步吧。" * 5,
    "french": "C'est déjà l'été, les élèves sont prêts à étudier où que ce soit. Ça va être très agréable. " * 5,
    "korean": "안녕하세요. 이것은 한국어로 된 웹 페이지입니다. 오늘은 날씨가 좋아서 산책을 갑니다. " * 5,
    "greek": "Αυτό είναι ένα κείμενο στα ελληνικά. Η γρήγορη αλεπού πηδάει πάνω από το σκυλί. " * 5,
}
CHARSETS = [
    ("japanese", "shift_jis"),
    ("japanese", "euc-jp"),
    ("japanese", "iso2022_jp"),
    ("japanese", "utf-8"),
    ("japanese", "utf-16-le"),
    ("japanese", "utf-16-be"),
    ("russian", "windows-1251"),
    ("russian", "koi8-r"),
    ("russian", "utf-16-le"),
    ("chinese", "gbk"),
    ("chinese", "utf-16-le"),
    ("french", "iso-8859-1"),
    ("french", "utf-16-be"),
    ("korean", "euc-kr"),
    ("korean", "utf-16-le"),
    ("greek", "iso-8859-7"),
]


def page(text: str, *, meta: str = "") -> str:
    return f"<html><head>{meta}<title>t</title></head><body><p>{text}</p></body></html>"


@pytest.mark.parametrize("label", [None, "utf-8", "iso-8859-1", "no-such-charset"])
@pytest.mark.parametrize(("language", "charset"), CHARSETS)
def test_unlabelled_and_mislabelled_pages_are_read_right(language: str, charset: str, label: str | None) -> None:
    expected = page(TEXTS[language])
    assert decode(expected.encode(charset), declared=label).text == expected


@pytest.mark.parametrize(("language", "charset"), CHARSETS)
def test_the_true_label_is_believed(language: str, charset: str) -> None:
    expected = page(TEXTS[language])
    decoded = decode(expected.encode(charset), declared=charset)
    assert decoded.text == expected
    assert decoded.unreadable == 0.0


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_wins_and_goes(mark: str) -> None:
    assert decode(page("für").encode(mark), declared="iso-8859-1").text == page("für")


def test_the_documents_own_label_is_found() -> None:
    # Too short and too mixed for a detector.
    for meta in (
        '<meta charset="windows-1250">',
        "<meta http-equiv='Content-Type' content='text/html; charset=windows-1250'>",
        "<!-- <meta charset=koi8-r> --><META CHARSET=windows-1250>",
    ):
        expected = page("Łódź, ěščř", meta=meta)
        assert decode(expected.encode("cp1250"), declared=None).text == expected


def test_labels_mean_what_browsers_take_them_for() -> None:
    assert decode(b"<p>\x93quoted\x94 \x80 5</p>", declared="ISO-8859-1").text == "<p>\u201cquoted\u201d \u20ac 5</p>"
    assert decode("<p>①</p>".encode("cp932"), declared="shift_jis").text == "<p>①</p>"


def test_utf8_with_some_damage_stays_utf8() -> None:
    expected = page(TEXTS["russian"])
    cut = expected.encode().replace("булок".encode(), "було".encode() + b"\xd0", 1)
    decoded = decode(cut, declared="windows-1251")
    assert decoded.charset == "utf-8"
    assert decoded.text == expected.replace("булок", "було\ufffd", 1)
    assert 0 < decoded.unreadable < 0.01


def test_padding_is_no_part_of_a_document() -> None:
    assert decode(b"text" + bytes(1000), declared=None).text == "text"


@pytest.mark.parametrize("label", [None, "utf-8", "iso-8859-1", "shift_jis", "gbk", "koi8-r", "utf-16"])
def test_bytes_that_are_no_text_show_it(label: str | None) -> None:
    noise = random.Random(1).randbytes(100_000)
    for content in (
        noise,
        b"\x89PNG\r\n\x1a\n" + noise,
        zlib.compress(noise),
        gzip.compress(str(list(range(30_000))).encode()),
    ):
        assert decode(content, declared=label).unreadable > 0.02


def test_zero_bytes_strewn_into_a_page_do_not_make_it_utf_16() -> None:
    page = b"<html><body>" + b"<p>a\0b</p>" * 500
    decoded = decode(page, declared=None)
    assert decoded.text == page.decode("ascii")
    assert decoded.unreadable > 0.05
    for charset in ("utf-16-le", "utf-16-be"):
        assert decode(page.replace(b"\0", b"").decode().encode(charset), declared=None).charset == charset


def test_nothing_raises() -> None:
    for content in (
        b"",
        b"\x00",
        b"\xff\xfe",
        b"\xff\xfe\x00",
        b"\xef\xbb\xbf",
        b"\x1b$B",
        b"\xff" * 3,
        b"<meta charset=",
    ):
        for label in (None, "", "utf-16", "\x00", "é", "x" * 1000, "hz-gb-2312", "utf-7", "idna", "rot13", "base64"):
            decode(content, declared=label).text.encode()


#: Words with the letters that these languages have and Western ones lack, and the set that their pages were written in.
LOOK_ALIKES = {
    "cp1250": "Źdźbło trawy rosło wśród żółtych kwiatów, a gęś śpiewała pieśń o miłości, łące i świętym dębie. ",
    "cp1254": "Şu köşe yaz köşesi, şu köşe kış köşesi; ağaçların altında çocuklar gülüşüp oynuyordu, ışık azdı. ",
    "cp1257": "Įlinkdama fechtuotojo špaga sublykčiojusi pragręžė apvalų arbūzą, o žąsys ėjo šėlti į ežerą. ",
}


@pytest.mark.parametrize("label", [None, "iso-8859-1", "windows-1252", "utf-8"])
@pytest.mark.parametrize("charset", ["cp1250", "cp1254", "cp1257"])
def test_a_latin_1_label_on_another_latin_script_is_not_believed(charset: str, label: str | None) -> None:
    expected = page(LOOK_ALIKES[charset] * 4)
    decoded = decode(expected.encode(charset), declared=label)
    assert decoded.text == expected


@pytest.mark.parametrize(
    "text",
    [
        TEXTS["french"],
        "Kæmi ný öxi hér, ykist þjófum nú bæði víl og ádrepa. Það er gott að búa á Íslandi. " * 5,
        "Unë jam shqiptar dhe jetoj në Tiranë; çdo ditë shkoj në punë me biçikletë. " * 5,
        "Vår såg, säg, Öland är vår ö, där sår vi råg och får på åkern. " * 5,
    ],
    ids=["french", "icelandic", "albanian", "swedish"],
)
def test_a_latin_1_label_on_a_western_page_is_believed(text: str) -> None:
    assert decode(page(text).encode("cp1252"), declared="iso-8859-1").text == page(text)


def test_a_label_of_another_asian_set_does_not_win_over_what_decodes() -> None:
    expected = page(TEXTS["japanese"])
    assert decode(expected.encode("shift_jis"), declared="euc-jp").text == expected
    assert decode(expected.encode("euc-jp"), declared="shift_jis").text == expected


def test_gb18030_beyond_gbk_is_read() -> None:
    expected = page(TEXTS["chinese"] + "㐀𠀀€")  # Extension A and B: four bytes each, which GBK has not.
    for label in (None, "gb2312", "gbk", "iso-8859-1"):
        assert decode(expected.encode("gb18030"), declared=label).text == expected


@pytest.mark.parametrize("charset", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("language", ["russian", "greek", "korean"])
def test_utf16_without_mark_label_or_markup_is_read(language: str, charset: str) -> None:
    assert decode(TEXTS[language].encode(charset), declared=None).text == TEXTS[language]


def test_windows_letters_are_not_taken_for_controls() -> None:
    ukrainian = "Їжак їсть ґрунт, а єнот співає пісні про Україну. " * 5
    assert decode(page(ukrainian).encode("koi8-u"), declared=None).text == page(ukrainian)
    quoted = LOOK_ALIKES["cp1257"].replace("špaga", "„špaga“")  # Quotation marks that ISO 8859-13 has elsewhere.
    assert decode(page(quoted * 4).encode("cp1257"), declared=None).text == page(quoted * 4)
