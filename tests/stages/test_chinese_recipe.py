"""configs/chinese.yaml on pages as extraction gives them: articles and manuals stay, menus and contents pages go."""

from pathlib import Path

import pytest
from rule_cases import verdict

import stages
from pipeline.recipe import load_recipe
from stages.stage import Stage

ARTICLE = (
    "{}月{}日上午，话剧在省会的人民剧院结束了全省各市的巡回演出。演员们说，这个故事讲的是一个人用十五年时间守住的约定，"
    "许多观众在演出之后还不愿意离开。导演在接受采访的时候表示，他们有一个愿望，就是把这样的故事带到更远的地方去。"
)
ROWS = [ARTICLE.format(number % 12 + 1, number) for number in range(1, 9)]
MANUAL = [
    f"在 Debian 系统上，第 {number} 章介绍了 apt-get、dpkg 和 systemd 等命令的用法。使用之前，您需要是 sudo 组的成员，"
    f"并且不要在 /etc/fstab 里写入 UUID 不对的 filesystem{number}。"
    for number in range(1, 12)
]
MENU = [
    f"首页 新闻{number} 体育 娱乐 财经 汽车 房产 科技 教育 论坛 博客 视频 图片 专题 的 不 是 人" for number in range(12)
]

PAGES = {
    "article": ("\n".join(ROWS), None),
    "article in one table": ("\n".join(f"| {row} |" for row in ROWS), None),
    "manual whose note stands twice": ("\n".join(["| 注意 |", *MANUAL[:6], "| 注意 |", *MANUAL[6:]]), None),
    "menu": ("\n".join(MENU), "line_punctuation"),
    "menu in a table": ("\n".join(f"| {line} |" for line in MENU), "line_punctuation"),
    "contents": (
        "\n".join(f"第 {number} 章 系统的安装 目录 {number}.1. 硬件" for number in range(1, 30)),
        "stop_words",
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_what_the_rules_keep(name: str) -> None:
    pytest.importorskip("rjieba", reason="needs the extra `segment`")
    text, expected = PAGES[name]
    found = None
    for settings in load_recipe(Path("configs/chinese.yaml")).stages:
        stage = stages.CATALOGUE[settings.type]
        if settings.type in ("gopher_quality", "fineweb_quality"):
            assert isinstance(stage, Stage)
            given = settings.settings.model_dump(exclude_unset=True)
            found = found or verdict(stage, text, **given)["reason"]
    assert found == expected
