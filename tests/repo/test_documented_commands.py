"""Every command, option, file and variable that a page names is there."""

import os
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.engine.commands import COMMANDS
from tests.repo.documented import OURS, PAGES, RUN_MODULE, Command, code_of, commands_of, module_file, options_of, sources_beside
from tests.repo.tree import ROOT, project_files, relative

by_page = pytest.mark.parametrize("page", PAGES, ids=relative)

#: Scripts that hand their options on, to whom.
HANDED_ON = {"scripts/demo.sh": "scripts/embedded/options.py", "scripts/test.sh": "", ".ci/run": ""}
#: Files that readers make or get.
MADE = {".env", ".env.dev", ".env.prod", ".env.worker", "latency.json", "soak.json", "run.json", "root.crt"}
#: Environment variables of other programs.
FOREIGN = {"COMPOSE_FILE", "DOCKER_USER", "CAP_NET_BIND_SERVICE", "MALLOC_ARENA_MAX"}
_PATH = re.compile(r"^\.?/?[\w.*-]+(/[\w.*-]+)*\.(yml|yaml|md|sh|py|json|toml|example|env|txt|svg|caddy|conf)$")


def all_commands(page: Path) -> list[Command]:
    return [command for line in code_of(page) for command in commands_of(line)]


@cache
def help_of(script: str) -> str:
    """What a script of ours says of itself; no docker, network or set-up is needed for that."""
    return subprocess.run([ROOT / script, "--help"], capture_output=True, text=True, check=True, timeout=30).stdout


@cache
def everything_but_pages() -> str:
    """All that is no page: where a name has to stand to be one."""
    return "\n".join(path.read_text(encoding="utf-8") for path in project_files() if path.suffix != ".md" and path.parent.name != "repo")


@cache
def is_name(word: str) -> bool:
    """Whether a file, somewhere, is called so or, behind a dot, ends so."""
    names = {path.name for path in project_files()}
    return word in names or (word.startswith(".") and any(name.endswith(word) for name in names))


@by_page
def test_scripts_exist(page: Path) -> None:
    """Each is there and may be run; its options, and the commands of deploy.sh, stand in its help."""
    wrong = []
    for program, arguments in all_commands(page):
        if not re.match(r"(scripts/[\w-]+\.sh|\.ci/run)$", program):
            continue
        if not os.access(ROOT / program, os.X_OK):
            wrong.append(program)
            continue
        told = help_of(program) if program not in HANDED_ON else (ROOT / HANDED_ON[program]).read_text(encoding="utf-8") if HANDED_ON[program] else None
        wrong += [f"{program} {option}" for option in options_of(arguments) if told is not None and not re.search(rf"{option}\b", told)]
        if program == "scripts/deploy.sh" and not re.search(rf"^  ({command_of_deploy(arguments)}) ", help_of(program), flags=re.MULTILINE):
            wrong.append(f"{program} {arguments}")
    assert wrong == []


def command_of_deploy(arguments: tuple[str, ...]) -> str:
    """The first word that is no option's value; `up` where only options are shown."""
    valued = {"-e", "--environment", "--scale", "--kafka-mode", "--pair", "--who", "--timeout", "--tail", "--level", "--since"}
    left = [word for at, word in enumerate(arguments) if not word.startswith("-") and (at == 0 or arguments[at - 1] not in valued)]
    return left[0] if left else "up"


@by_page
def test_modules_exist(page: Path) -> None:
    """Each `python -m` of ours can be run; its options stand in its code."""
    wrong = []
    for program, (module, *arguments) in ((each.program, each.arguments or ("",)) for each in all_commands(page)):
        if program != RUN_MODULE or module.split(".")[0] not in OURS:
            continue
        file = module_file(module)
        if file is None:
            wrong.append(module)
        else:
            wrong += [f"{module} {option}" for option in options_of(tuple(arguments)) if f'"{option}"' not in sources_beside(file)]
    assert wrong == []


@by_page
def test_files_exist(page: Path) -> None:
    """A path leads somewhere from the root or from the page; a bare name or ending is some file's."""
    wrong = []
    for line in code_of(page):
        for word in line.split():
            if not _PATH.match(word) or word.startswith("/"):
                continue
            found = any(ROOT.glob(word.removeprefix("./"))) or (page.parent / word).exists() or ("/" not in word and is_name(word))
            if not found and Path(word).name not in MADE:
                wrong.append(word)
    assert wrong == []


@by_page
def test_names_of_compose_exist(page: Path) -> None:
    """Services, containers and images are those of the Compose files."""
    compose = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("docker-compose*.yml"))
    names = set(re.findall(r"^  ([\w-]+):", compose, flags=re.MULTILINE)) | set(re.findall(r"crypto-bot-[\w-]+", compose))
    wrong = []
    for program, arguments in all_commands(page):
        if program in {"docker", "docker-compose"}:
            words = [word for argument in arguments for word in re.findall(r"^[\w-]+-service\b|^crypto-bot-[\w-]+", argument)]
            wrong += [word for word in words if word not in names]
    assert wrong == []


@by_page
def test_variables_exist(page: Path) -> None:
    """A name in capitals is read by something of ours."""
    known = everything_but_pages()
    named = {name for line in code_of(page) for name in re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", line)} - FOREIGN
    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", known) and name.lower() not in known and not known_as_a_file(name, known)] == []


def known_as_a_file(name: str, known: str) -> bool:
    """Whether it is the _FILE of a secret."""
    return name.endswith("_FILE") and name.removesuffix("_FILE").lower() in known


def test_the_guide_says_what_is_typed_on_an_engine() -> None:
    """What the tests on an engine type, as it is written, stands in the guide; so what it says has been seen to work."""
    guide = (ROOT / "DOCKER_DEPLOYMENT_GUIDE.md").read_text(encoding="utf-8")
    typed = {re.sub(r":800\d/", ":8003/", command.written) for command in COMMANDS}
    assert [line for line in sorted(typed) if re.sub(r"\bR(?=/|$)", "registry.example.com/hft", line).replace("/hft/hft", "/hft") not in guide] == []


@pytest.mark.parametrize(
    ("line", "commands"),
    [
        ("A=1 ./scripts/deploy.sh -e production up  # comment", [("scripts/deploy.sh", ("-e", "production", "up"))]),
        ("docker-compose logs -f | grep 'ERROR'", [("docker-compose", ("logs", "-f")), ("grep", ("ERROR",))]),
        (
            "A=1 ./python3 -m scripts.replay --ledger x",
            [("python3", ("-m", "scripts.replay", "--ledger", "x")), ("python -m", ("scripts.replay", "--ledger", "x"))],
        ),
        (
            "docker-compose exec e python -m services.execution.diagnostics",
            [
                ("docker-compose", ("exec", "e", "python", "-m", "services.execution.diagnostics")),
                ("python -m", ("services.execution.diagnostics",)),
            ],
        ),
    ],
)
def test_commands_are_found(line: str, commands: list[tuple[str, tuple[str, ...]]]) -> None:
    """With their arguments, without what stands around them."""
    assert list(commands_of(line)) == commands


def test_what_is_not_there_is_noticed(tmp_path: Path) -> None:
    """Each kind of mistake fails its test."""
    page = tmp_path / "page.md"
    for test, mistakes in {
        test_scripts_exist: ("scripts/gone.sh", "./scripts/deploy.sh -e production dance", "scripts/backup.sh --fast"),
        test_modules_exist: ("python -m scripts.gone", "python -m scripts.replay --sideways"),
        test_files_exist: ("docs/gone.md", "gone.py"),
        test_names_of_compose_exist: ("docker-compose logs gone-service", "docker cp crypto-bot-gone:/x ."),
        test_variables_exist: ("NO_SUCH_VARIABLE",),
    }.items():
        for mistake in mistakes:
            page.write_text(f"`{mistake}`\n", encoding="utf-8")
            with pytest.raises(AssertionError):
                test(page)
