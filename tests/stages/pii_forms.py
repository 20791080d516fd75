"""A seeded generator of personal data as people write it, and of what only looks like it; independent of the patterns.

Each form is (text, value): the value stands in the text, or is None for a text that must be left alone. No value is
anybody's: digits are drawn, hosts are made of words.
"""

import ipaddress
import random
import string
from collections.abc import Callable

Form = tuple[str, str | None]

_FIRST = [
    "anna",
    "john",
    "mary",
    "li",
    "wei",
    "ahmed",
    "sofia",
    "lars",
    "juan",
    "maria",
    "kofi",
    "yuki",
    "elena",
    "tom",
    "sarah",
    "ivan",
    "fatima",
    "peter",
    "chloe",
    "noah",
]
_LAST = [
    "smith",
    "müller",
    "garcia",
    "chen",
    "novak",
    "rossi",
    "dubois",
    "jensen",
    "kowalski",
    "silva",
    "tanaka",
    "okafor",
    "brown",
    "ali",
    "lópez",
    "o'neil",
]
_WORDS = [
    "river",
    "stone",
    "cloud",
    "north",
    "garden",
    "blue",
    "union",
    "delta",
    "harbor",
    "maple",
    "summit",
    "nova",
    "pixel",
    "studio",
    "market",
    "labs",
]
_TLDS = [
    "com",
    "org",
    "net",
    "de",
    "co.uk",
    "fr",
    "io",
    "edu",
    "gov.au",
    "com.br",
    "nl",
    "info",
    "museum",
    "travel",
    "jp",
]
_AROUND = (
    "Please write to {} before Friday.",
    "{}",
    "Contact: {}, room 12.",
    "({})",
    "Kontakt: {}.",
    "see {} for more",
    "Name: J. Doe\n{}\nBerlin",
    "“{}”",
    "联系方式：{}。",
    "{}; office hours 9 to 5",
    "It is {}!",
    "<{}>",
    "a, {}, b",
)


def forms(kind: str, number: int, *, seed: int = 7) -> list[Form]:
    """`number` forms that hold a value and as many near misses that hold none, shuffled."""
    draw = random.Random(f"{seed}-{kind}")
    make, miss = _KINDS[kind]
    found: list[Form] = []
    for _ in range(number):
        value = make(draw)
        found.append((draw.choice(_AROUND).replace("{}", value), value))
        found.append((draw.choice(_AROUND).replace("{}", miss(draw)), None))
    draw.shuffle(found)
    return found


def _digits(draw: random.Random, count: int) -> str:
    return "".join(draw.choice(string.digits) for _ in range(count))


def _from(draw: random.Random, alphabet: str, count: int) -> str:
    return "".join(draw.choice(alphabet) for _ in range(count))


def _shaped(draw: random.Random, shape: str) -> str:
    """`#` is any digit, `N` one of 2 to 9."""
    return "".join(
        draw.choice("23456789") if c == "N" else draw.choice(string.digits) if c == "#" else c for c in shape
    )


def _host(draw: random.Random) -> str:
    name = draw.choice(["{a}{b}", "{a}-{b}", "{a}", "mail.{a}", "{a}{n}", "x.{b}.{a}"])
    return f"{name.format(a=draw.choice(_WORDS), b=draw.choice(_WORDS), n=draw.randint(1, 99))}.{draw.choice(_TLDS)}"


def _email(draw: random.Random) -> str:
    first, last = draw.choice(_FIRST), draw.choice(_LAST)
    local = draw.choice(
        [
            f"{first}.{last}",
            f"{first[0]}{last}",
            f"{first}_{last}",
            f"{first}{draw.randint(1, 2005)}",
            "info",
            "no-reply",
            f"{first}+{draw.choice(_WORDS)}",
            f"{first}.{last[0]}.{last}",
            f"{last}-{first}",
            _digits(draw, 9),
            first.upper(),
        ]
    )
    host = _host(draw)
    if draw.random() < 0.1:
        at = draw.choice([" (at) ", " [at] ", "(at)", "[AT]"])
        return local + at + host.replace(".", draw.choice([" [dot] ", " (dot) ", "."]))
    return f"{local}@{host.upper() if draw.random() < 0.1 else host}"


def _no_email(draw: random.Random) -> str:
    word, name = draw.choice(_WORDS), draw.choice(_FIRST)
    return draw.choice(
        [
            f"@{name}",
            f"{name} @ {word}",
            f"{word}@{draw.randint(2, 3)}x.png",
            f"{word}@{draw.randint(1, 9)}.{draw.randint(0, 20)}.1",
            f"meet me at {word}.com",
            f"https://{word}.com/@{name}",
            "10 kg @ $3.50",
            f"{name}@",
            f"{name}@localhost",
            f"{word}.{name}.org",
            f"@{word}.com",
            f"3 apples (at most) {word}",
            f"{name}@@{word}",
        ]
    )


_US_AREAS = [
    "212",
    "310",
    "415",
    "617",
    "202",
    "305",
    "312",
    "713",
    "206",
    "404",
    "503",
    "602",
    "702",
    "801",
    "919",
    "214",
    "646",
    "718",
    "416",
    "604",
]
_PHONE_SHAPES = (
    "+44 20 7946 0###",
    "+44 (0)20 79## ####",
    "020 7946 0###",
    "(020) 7946 0###",
    "07700 900###",
    "+44 7911 123###",
    "+49 30 12#####",
    "+49 (0)30 12######",
    "030 / 12######",
    "0170 12#####",
    "0049 170 12#####",
    "089-12######",
    "+33 1 42 ## ## ##",
    "01 42 ## ## ##",
    "06.12.##.##.##",
    "+33 6 12 ## ## ##",
    "+34 91# ### ###",
    "+34 612 ### ###",
    "+39 06 698 #####",
    "+31 20 62# ####",
    "020-62# ####",
    "+81 3-3### ####",
    "03-3###-####",
    "090-1###-####",
    "+86 138 #### ####",
    "138-####-####",
    "+91 98### #####",
    "+61 2 9### ####",
    "(02) 9### ####",
    "+55 11 98###-####",
    "+41 44 2## ## ##",
    "044 2## ## ##",
    "+46 8 50# ### ##",
    "+7 495 12#-##-##",
    "+48 22 12# ## ##",
    "+1-AAA-NNN-####",
)


def _phone(draw: random.Random) -> str:
    if draw.random() < 0.4:
        shape = draw.choice(
            [
                "(AAA) E-####",
                "AAA-E-####",
                "AAA.E.####",
                "+1 AAA E ####",
                "1-AAA-E-####",
                "+1 (AAA) E-####",
                "+1AAAE####",
            ]
        )
    else:
        shape = draw.choice(_PHONE_SHAPES)
    exchange = draw.choice("23456789") + draw.choice("02345678") + draw.choice("23456789")  # no N11
    shape = shape.replace("AAA", draw.choice(_US_AREAS)).replace("E", exchange).replace("NNN", exchange)
    return _shaped(draw, shape)


def _no_phone(draw: random.Random) -> str:
    return draw.choice(
        [
            _shaped(draw, "20##-0N-1# 1#:##:##"),
            _shaped(draw, "1#.0N.20##"),
            _shaped(draw, "0N/1#/19##"),
            _shaped(draw, "$#,###,###.##"),
            _shaped(draw, "97801#######"),
            _shaped(draw, "978-0-##-######-#"),
            _shaped(draw, "issn ####-####"),
            _shaped(draw, "pages ###-###"),
            _shaped(draw, "19##-20##"),
            _shaped(draw, "order NN######"),
            _shaped(draw, "0.########"),
            _shaped(draw, "NNN ### ### ### people"),
            _shaped(draw, "10.####/########"),
            _shaped(draw, "#### #### #### ####"),
            _shaped(draw, "12, 34, ##, ##, ##, ##"),
            _shaped(draw, "id=##########"),
            _shaped(draw, "/item/##########"),
            _shaped(draw, "N x N x N x N"),
            _shaped(draw, "16######## seconds"),
            _shaped(draw, "ASIN B0########"),
            _shaped(draw, "1 2 3 4 5 6 7 8 9 1#"),
        ]
    )


def _ip(draw: random.Random) -> str:
    while True:
        if draw.random() < 0.6:
            address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv4Address(draw.getrandbits(32))
        else:
            bits = draw.getrandbits(125) | 0b001 << 125
            if draw.random() < 0.5:
                bits &= ~(((1 << 80) - 1) << 16)
            address = ipaddress.IPv6Address(bits)
        if address.is_global and not address.is_multicast:
            return draw.choice(
                [str(address), str(address), address.exploded if address.version == 4 else str(address).upper()]
            )


def _no_ip(draw: random.Random) -> str:
    return draw.choice(
        [
            _shaped(draw, "10.#.1#.#"),
            _shaped(draw, "192.168.#.1#"),
            _shaped(draw, "172.16.#.1#"),
            "127.0.0.1",
            "0.0.0.0",
            _shaped(draw, "version N.#.#.1"),
            _shaped(draw, "N.#.#"),
            _shaped(draw, "999.N##.###.###"),
            _shaped(draw, "1#:3#:2#"),
            "fe80::1",
            "::1",
            "2001:db8::17",
            _shaped(draw, "v1.#.#.#"),
            _shaped(draw, "1.#.#.#.N"),
            "std::vector",
            "a::b",
            _shaped(draw, "00:1b:#4:11:3a:b#"),
            _shaped(draw, "section N.#.#.1"),
            _shaped(draw, "169.254.1#.1#"),
            _shaped(draw, "Firmware: 2.#.1.N"),
        ]
    )


_BBAN = {
    "DE": "##################",
    "GB": "NWBK##############",
    "FR": "#######################",
    "NL": "ABNA##########",
    "ES": "####################",
    "IT": "X######################",
    "CH": "#################",
    "PL": "########################",
    "SE": "####################",
    "NO": "###########",
    "BE": "############",
    "MT": "MALT##################ABCDE",
}


def _iban_with(draw: random.Random, wrong: int) -> str:
    country = draw.choice(list(_BBAN))
    account = _shaped(draw, _BBAN[country]) if country != "GB" else "NWBK" + _digits(draw, 14)
    number = int("".join(str(int(c, 36)) for c in account + country + "00"))
    plain = f"{country}{(98 - number % 97 + wrong - 1) % 97 + 1 if wrong else 98 - number % 97:02d}{account}"
    if draw.random() < 0.6:
        return " ".join(plain[i : i + 4] for i in range(0, len(plain), 4))
    return plain


def _iban(draw: random.Random) -> str:
    return _iban_with(draw, 0)


def _no_iban(draw: random.Random) -> str:
    return draw.choice(
        [
            _iban_with(draw, draw.randint(1, 90)),
            _shaped(draw, "XX12 #### #### #### ####"),
            _shaped(draw, "AB12CD34EF56"),
            _shaped(draw, "DE12 4567"),
        ]
    )


def _luhn_end(number: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def _card(draw: random.Random) -> str:
    prefix, length = draw.choice(
        [
            ("4", 16),
            ("4", 16),
            ("51", 16),
            ("55", 16),
            ("2221", 16),
            ("34", 15),
            ("37", 15),
            ("6011", 16),
            ("65", 16),
            ("36", 14),
            ("3530", 16),
            ("62", 16),
        ]
    )
    number = prefix + _digits(draw, length - len(prefix) - 1)
    number += _luhn_end(number)
    gap = draw.choice(["", " ", "-"])
    if length == 16:
        return gap.join(number[i : i + 4] for i in range(0, 16, 4))
    return gap.join((number[:4], number[4:10], number[10:]))


def _no_card(draw: random.Random) -> str:
    card = _card(draw)
    broken = card[:-1] + str((int(card[-1]) + draw.randint(1, 9)) % 10)
    return draw.choice(
        [
            broken,
            broken,
            _shaped(draw, "97801########"),
            _shaped(draw, "17###########"),
            _shaped(draw, "1### #### #### ####"),
            _shaped(draw, "0.################"),
            _shaped(draw, "9###############"),
        ]
    )


_ALNUM = string.ascii_letters + string.digits
_URLSAFE = _ALNUM + "-_"


def _secret(draw: random.Random) -> str:
    def mixed(count: int) -> str:
        return _from(draw, _ALNUM, count)

    def safe(count: int) -> str:
        return mixed(1) + _from(draw, _URLSAFE, count - 2) + mixed(1)

    return draw.choice(
        [
            lambda: "AKIA" + _from(draw, string.ascii_uppercase + "234567", 16),
            lambda: draw.choice(["ghp_", "gho_", "ghs_", "ghr_"]) + mixed(36),
            lambda: f"github_pat_{mixed(22)}_{mixed(59)}",
            lambda: "glpat-" + safe(20),
            lambda: f"xoxb-{_digits(draw, 12)}-{_digits(draw, 12)}-{mixed(24)}",
            lambda: "AIza" + safe(35),
            lambda: "sk_live_" + mixed(24),
            lambda: "sk-" + mixed(48),
            lambda: "sk-ant-api03-" + safe(60),
            lambda: "hf_" + mixed(34),
            lambda: "npm_" + mixed(36),
            lambda: f"SG.{safe(22)}.{safe(43)}",
            lambda: f"eyJhbGciOiJIUzI1NiJ9.eyJ{safe(40)}.{safe(43)}",
            lambda: f"-----BEGIN RSA PRIVATE KEY-----\n{mixed(64)}\n{mixed(64)}\n-----END RSA PRIVATE KEY-----",
        ]
    )()


def _no_secret(draw: random.Random) -> str:
    return draw.choice(
        [
            _from(draw, "0123456789abcdef", 40),
            _from(draw, "0123456789abcdef", 64),
            _from(draw, _ALNUM, 32),
            "AKIA",
            "ghp_example",
            f"sk-{draw.choice(_WORDS)}",
            f"hf_{draw.choice(_WORDS)}_{draw.choice(_WORDS)}",
            "xoxb-",
            "eyJ is how it begins",
            "SG.1",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
            f"https://{draw.choice(_WORDS)}.com:8080/@{draw.choice(_WORDS)}",
            "AWS is a cloud: " + _from(draw, string.ascii_lowercase, 30),
            "-".join(_from(draw, "0123456789abcdef", count) for count in (8, 4, 4, 4, 12)),
        ]
    )


_KINDS: dict[str, tuple[Callable[[random.Random], str], Callable[[random.Random], str]]] = {
    "secret": (_secret, _no_secret),
    "email": (_email, _no_email),
    "iban": (_iban, _no_iban),
    "card": (_card, _no_card),
    "ip": (_ip, _no_ip),
    "phone": (_phone, _no_phone),
}
