"""Where a text holds personal data or a secret: the patterns of each kind, and the checks that a candidate must pass.

Every pattern has bounded repeats and begins at most once in a run of characters that it could begin with, so that the
time is linear in the text. Digits, letters and word borders are ASCII's: a number may stand against a Han character.
"""

import functools
import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Final, Literal, get_args

import phonenumbers

Kind = Literal["secret", "email", "iban", "card", "ip", "phone"]
#: In the order in which they are looked for: what an earlier kind has taken, a later one does not see.
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Span = tuple[int, int]

#: What stands over the places that are taken while later kinds look: no pattern can match or join across it.
_TAKEN: Final = "\0"


def findings(text: str) -> dict[Kind, list[Span]]:
    """The places of each kind in `text`, in order; no two overlap. Linear in the text."""
    found: dict[Kind, list[Span]] = {}
    for kind in KINDS:
        spans = list(_DETECTORS[kind](text))
        if spans:
            found[kind] = spans
            text = _covered(text, spans)
    return found


def replaced(text: str, masks: list[tuple[Span, str]]) -> str:
    """`text` with each span, none of which overlap, replaced by its mask."""
    pieces, end = [], 0
    for (start, stop), mask in sorted(masks):
        pieces += [text[end:start], mask]
        end = stop
    return "".join([*pieces, text[end:]])


def _covered(text: str, spans: list[Span]) -> str:
    return replaced(text, [((start, end), _TAKEN * (end - start)) for start, end in spans])


# ---------------------------------------------------------------------------------------------------------- secrets

#: Formats as the issuers document them, and as GitHub's secret scanning and gitleaks read them. Each begins with a
#: literal that ordinary text does not hold, so the pattern alone decides.
_SECRET: Final = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        (?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?![A-Za-z0-9])               # AWS access key id
      | gh[pousr]_[A-Za-z0-9]{36,251}+                                   # GitHub tokens
      | github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}                       # GitHub fine-grained token
      | glpat-[A-Za-z0-9_-]{20,64}+                                      # GitLab
      | xox[abeoprs]-[A-Za-z0-9-]{10,250}+ | xapp-[0-9]-[A-Za-z0-9-]{10,250}+  # Slack tokens
      | hooks\.slack\.com/services/T[A-Za-z0-9]{6,12}/B[A-Za-z0-9]{6,12}/[A-Za-z0-9]{16,32}+  # Slack web hook
      | AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])                           # Google API key
      | [sr]k_live_[A-Za-z0-9]{16,128}+ | whsec_[A-Za-z0-9+/=]{32,64}+   # Stripe
      | sk-ant-[A-Za-z0-9_-]{24,200}+                                    # Anthropic
      | sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,250}+ | sk-[A-Za-z0-9]{48}(?![A-Za-z0-9])  # OpenAI
      | hf_[A-Za-z0-9]{34}(?![A-Za-z0-9])                                # Hugging Face
      | npm_[A-Za-z0-9]{36}(?![A-Za-z0-9]) | pypi-AgEI[A-Za-z0-9_-]{50,250}+  # npm, PyPI
      | SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])        # SendGrid
      | [0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])                 # Telegram bot
      | eyJ[A-Za-z0-9_-]{8,4000}+\.eyJ[A-Za-z0-9_-]{8,8000}+\.[A-Za-z0-9_-]{8,2000}+  # JSON web token (RFC 7519)
    )
    # A private key with its headers; cut off before its end, what is there of it.
    | -----BEGIN\ (?:[A-Z0-9]{1,12}\ ){0,3}PRIVATE\ KEY(?:\ BLOCK)?-----
      (?:(?!-----)[A-Za-z0-9+/=\s:,.()-]){0,20000}+(?:-----END\ [A-Z0-9 ]{1,40}-----)?
    # AWS's secret access key and Azure's account key have no mark of their own: known by the name before them.
    | (?i:aws.{0,20}(?:secret|key).{0,24}?|AccountKey)["']?\s?[:=]{1,2}\s?["']?
      (?P<value>[A-Za-z0-9+/]{86}==|[A-Za-z0-9+/]{40})(?![A-Za-z0-9+/=])
    # Name and password in an address (RFC 3986, section 3.2.1).
    | (?<![A-Za-z0-9+.-])[a-z][a-z0-9+.-]{1,20}+://(?P<login>[^\s:/@?\#\x00]{1,64}+:[^\s:/@?\#\x00]{1,128}+)@(?=[A-Za-z0-9\[])
    """,
    re.VERBOSE,
)
#: Without one of these in it, or what `_may_hold_secret` looks for, a text holds no secret. A search for a plain string
#: is many times faster than a pattern that fails.
_SECRET_MARKS: Final = (
    *("AKIA", "ASIA", "ABIA", "ACCA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "xapp-"),
    *("hooks.slack", "AIza", "k_live_", "whsec_", "hf_", "npm_", "pypi-A", "SG.", ":AA", "eyJ", "PRIVATE KEY"),
    *("AccountKey", "accountkey", "ACCOUNTKEY"),
)
_AWS: Final = re.compile(r"(?i:aws.{0,20}(?:secret|key)|accountkey)")
_OPENAI: Final = re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9]")


def _may_hold_secret(text: str) -> bool:
    return (
        any(mark in text for mark in _SECRET_MARKS)
        or ("://" in text and "@" in text)
        or ("sk-" in text and _OPENAI.search(text) is not None)
        or _AWS.search(text) is not None
    )


def _secrets(text: str) -> Iterator[Span]:
    if _may_hold_secret(text):
        for match in _SECRET.finditer(text):
            yield match.span(match.lastgroup) if match.lastgroup else match.span()


# ----------------------------------------------------------------------------------------------------------- e-mail

_ATOM_START: Final = r"[A-Za-z0-9_\u00c0-\u024f]"
_ATOM: Final = rf"{_ATOM_START}[A-Za-z0-9_\u00c0-\u024f%&'*+=~-]{{0,63}}+"
_LABEL: Final = r"[A-Za-z0-9\u00c0-\u024f](?:[A-Za-z0-9\u00c0-\u024f-]{0,61}[A-Za-z0-9\u00c0-\u024f])?"
_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
#: Dot-atoms of RFC 5322 (3.2.3) with letters of Latin script; a host, or an IPv4 address with or without brackets.
#: Quoted local parts, which nobody has, are left. People hide addresses behind `(at)` and `[dot]`: those count.
_EMAIL: Final = re.compile(
    rf"""(?<!{_ATOM_START}){_ATOM}(?:\.{_ATOM}){{0,8}}+
    (?:@(?:(?:{_LABEL}\.){{1,8}}(?P<end>[A-Za-z]{{2,24}})(?![A-Za-z0-9-])|\[?{_IPV4}\]?(?![A-Za-z0-9]))
      |\s?[\[({{<]\s?(?:at|AT|@)\s?[\])}}>]\s?
       {_LABEL}(?:(?:\.|\s?[\[({{<]\s?(?:dot|DOT|\.)\s?[\])}}>]\s?){_LABEL}){{1,4}}(?<=[A-Za-z]{{2}})(?![A-Za-z0-9-]))
    """,
    re.VERBOSE,
)
_EMAIL_MARK: Final = re.compile(r"@|[\[({<]\s?(?:at|AT)\s?[\])}>]")
#: `logo@2x.png`: what looks like a domain is the name of a file (scaled images, source maps, styles).
_FILE_ENDINGS: Final = frozenset(
    {"png", "jpg", "jpeg", "gif", "svg", "webp", "avif", "ico", "css", "js", "mjs", "json"}
)


def _emails(text: str) -> Iterator[Span]:
    if _EMAIL_MARK.search(text):
        for match in _EMAIL.finditer(text):
            if (match["end"] or "").lower() not in _FILE_ENDINGS:
                yield match.span()


# ------------------------------------------------------------------------------------------------------------- IBAN

#: Characters of an IBAN by country, from SWIFT's IBAN registry (release 99).
_IBAN_COUNTRIES: Final = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24
    FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32
    LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24
    RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
_IBAN_LENGTHS: Final = {entry[:2]: int(entry[2:]) for entry in _IBAN_COUNTRIES.split()}
_IBAN_HEAD: Final = re.compile(r"(?<![A-Za-z0-9])([A-Z]{2})[0-9]{2}(?=[ -]?[A-Z0-9])")


@functools.cache
def _iban_of(length: int) -> re.Pattern[str]:
    return re.compile(rf"[A-Z]{{2}}[0-9]{{2}}(?:[ -]?[A-Z0-9]){{{length - 4}}}(?![A-Za-z0-9])")


def _ibans(text: str) -> Iterator[Span]:
    """The country says the length, ISO 7064's check digits (modulo 97) decide."""
    end = 0
    for head in _IBAN_HEAD.finditer(text):
        length = _IBAN_LENGTHS.get(head[1])
        match = _iban_of(length).match(text, head.start()) if length and head.start() >= end else None
        if match is not None and _iban_checks(re.sub("[ -]", "", match[0])):
            end = match.end()
            yield match.span()


def _iban_checks(iban: str) -> bool:
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


# ------------------------------------------------------------------------------------------------------------ cards

_CARD: Final = re.compile(r"(?<![A-Za-z0-9_.,/+-])[0-9](?:[ -]?[0-9]){12,18}+(?![A-Za-z0-9_])")
#: Issuer ranges and lengths of the networks in use (ISO/IEC 7812; Visa, Mastercard, American Express, Discover, Diners
#: Club, JCB, UnionPay).
_CARD_ISSUER: Final = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|5[1-5][0-9]{14}|2(?:22[1-9]|2[3-9][0-9]|[3-6][0-9]{2}|7[01][0-9]|720)[0-9]{12}|"
    r"3[47][0-9]{13}|6(?:011|4[4-9][0-9]|5[0-9]{2})[0-9]{12}|3(?:0[0-5]|[689][0-9])[0-9]{11}|35(?:2[89]|[3-8][0-9])[0-9]{12}|"
    r"62[0-9]{14,17}"
)
#: How cards are printed: in one run, in fours, or 4-6-5 and 4-6-4.
_CARD_GROUPS: Final = re.compile(
    r"[0-9]+|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,4}(?:\1[0-9]{1,3})?|[0-9]{4}([ -])[0-9]{6}\2[0-9]{4,5}"
)


def _cards(text: str) -> Iterator[Span]:
    for match in _CARD.finditer(text):
        digits = re.sub("[ -]", "", match[0])
        if _CARD_GROUPS.fullmatch(match[0]) and _CARD_ISSUER.fullmatch(digits) and _luhn(digits):
            yield match.span()


def _luhn(digits: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1, annex B)."""
    values = [int(digit) for digit in reversed(digits)]
    return sum(values[::2] + [sum(divmod(2 * value, 10)) for value in values[1::2]]) % 10 == 0


# ------------------------------------------------------------------------------------------------- internet addresses

_ADDRESS_4: Final = re.compile(rf"(?<![A-Za-z0-9_.-]){_IPV4}(?![A-Za-z0-9_]|\.[0-9]|-[A-Za-z0-9])")
#: `version 1.2.3.4`, `section 4.1.2.3`: what a number with three dots is when it is no address.
_NUMBERED: Final = re.compile(
    r"(?i:\b(?:version|ver|v|release|rel|build|firmware|section|sect|sec|chapter|figure|fig|table|clause|article|rev|"
    r"revision|update|driver|oid)|§)[.:]?\s{0,2}(?:no[.]?\s)?\Z"
)
_ADDRESS_6: Final = re.compile(
    rf"(?<![A-Za-z0-9_:.])(?:[0-9A-Fa-f]{{1,4}}:){{1,7}}(?::|(?::?[0-9A-Fa-f]{{1,4}}(?::[0-9A-Fa-f]{{1,4}}){{0,6}})?)"
    rf"(?:(?<=:){_IPV4})?(?![A-Za-z0-9_]|:[0-9A-Fa-f:])"
)


#: What every public address holds: found faster than the patterns fail.
_MARK_4: Final = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.")
_MARK_6: Final = re.compile(r":[0-9A-Fa-f:](?<=[23][0-9A-Fa-f]{3}:.)")


def _addresses(text: str) -> Iterator[Span]:
    """Public addresses: a private, local or documentation address leads to nobody."""
    found = []
    if _MARK_6.search(text):
        found += [match.span() for match in _ADDRESS_6.finditer(text) if _is_public_6(match[0])]
        text = _covered(text, found) if found else text
    for match in _ADDRESS_4.finditer(text) if _MARK_4.search(text) else ():
        before = text[max(0, match.start() - 16) : match.start()]
        if ipaddress.IPv4Address(match[0]).is_global and not _NUMBERED.search(before):
            found.append(match.span())
    yield from sorted(found)


def _is_public_6(candidate: str) -> bool:
    """Whether this is an address that is routed: all of them lie in 2000::/3 (IANA's IPv6 address space)."""
    if candidate[0] not in "23" or candidate.find(":") != 4:
        return False
    try:
        return ipaddress.IPv6Address(candidate).is_global
    except ValueError:
        return False


# ------------------------------------------------------------------------------------------------------------ phones

_PHONE: Final = re.compile(
    r"(?<![A-Za-z0-9_.,/+%$€£#=-])(?:\+|(?=[(0-9]))(?:\(?\+?[0-9]{1,5}\)?)"
    r"(?:[ .\-/\u00a0\u2010-\u2013]{0,3}\(?[0-9]{1,12}\)?){0,6}+"
    r"(?![A-Za-z0-9_%€£]|[,.:/][0-9])"
)
_PHONE_DIGITS: Final = re.compile(r"[0-9][0-9 .()/\-\u2010-\u2013]{5}")
#: Where a number without a country code may be from, tried in this order: countries whose numbers begin with 0 or have
#: a fixed grouping, by number of web pages.
_NATIONAL: Final = ("GB", "DE", "FR", "JP", "NL", "AU", "IT", "BE", "CH", "AT", "SE", "CN", "BR", "IN")
_NORTH_AMERICAN: Final = re.compile(r"(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}")
#: A last group of one digit is the check digit of an ISBN; no country writes telephone numbers so.
_LONE_END: Final = re.compile(r"[^0-9][0-9]\Z")
#: Longest national number with its gaps: 13 digits (Austria) in five groups. Card and account numbers are longer.
_NATIONAL_CHARACTERS: Final = 18
_DATE: Final = re.compile(
    r"[0-9]{1,2}[./-][0-9]{1,2}[./-](?:19|20)[0-9]{2}|(?:19|20)[0-9]{2}[./-][0-9]{1,2}[./-][0-9]{1,2}"
)
#: A bare run of digits is a phone number only behind a word that says so.
_NAMED: Final = re.compile(
    r"(?i:\b(?:tel|telefon|telephone|telefono|teléfono|téléphone|phone|phones|ph|fon|fax|mobile|mobil|mob|cell|"
    r"handy|call|whatsapp|sms|hotline|text)|电话|手机|热线|電話|тел|телефон)[^A-Za-z0-9\n]{0,4}"
    r"(?:(?i:no|number|nr|us|at|me|on)[^A-Za-z0-9\n]{1,3}){0,2}\Z"
)
#: What tells a number with its leading zero from an amount or a code: gaps, or France's five pairs with points.
_SEPARATED: Final = re.compile(r"[ )/-]|[0-9]{2}(?:\.[0-9]{2}){4}")
_CHINESE_MOBILE: Final = re.compile(r"1[3-9][0-9](?:[ -]?[0-9]{4}){2}")


def _phones(text: str) -> Iterator[Span]:
    if not _PHONE_DIGITS.search(text):
        return
    for match in _PHONE.finditer(text):
        start, candidate = match.start(), match[0]
        if candidate[0] == "(" and candidate.find(")") in (-1, len(candidate) - 1):  # the sentence's brackets
            start, candidate = start + 1, candidate[1:]
        if candidate.count(")") > candidate.count("("):
            candidate = candidate.rstrip(")")
        digits = sum(character in "0123456789" for character in candidate)
        if 8 <= digits <= 17 and _is_phone(candidate, _NAMED.search(text[max(0, start - 24) : start])):
            yield start, start + len(candidate)


def _is_phone(candidate: str, named: re.Match[str] | None) -> bool:
    if candidate.startswith(("+", "(+")):
        return _valid(candidate.replace("(0)", " "), None)
    if _DATE.search(candidate) or _LONE_END.search(candidate):
        return False
    if candidate.startswith("00"):
        return _valid("+" + candidate[2:].replace("(0)", " "), None)
    if _NORTH_AMERICAN.fullmatch(candidate):
        return _valid(candidate, "US")
    if len(candidate) > _NATIONAL_CHARACTERS:
        return False
    if candidate.startswith(("0", "(0")) and (named or _SEPARATED.search(candidate)):
        return any(_valid(candidate, region) for region in _NATIONAL)
    if _CHINESE_MOBILE.fullmatch(candidate) and (named or not candidate.isdigit()):
        return _valid(candidate, "CN")
    return named is not None and any(_valid(candidate, region) for region in ("US", *_NATIONAL))


#: Templates repeat one number on every line; a check takes 30 µs. The size bounds what a worker remembers.
@functools.lru_cache(maxsize=4096)
def _valid(number: str, region: str | None) -> bool:
    """Whether this is a number that the region's (or, null, the country code's) numbering plan assigns."""
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False


_DETECTORS: Final[dict[Kind, Callable[[str], Iterator[Span]]]] = {
    "secret": _secrets,
    "email": _emails,
    "iban": _ibans,
    "card": _cards,
    "ip": _addresses,
    "phone": _phones,
}
