"""Images made by a real engine: built once, from what the plan says and nothing else, and told in words when it fails."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from claude_bottle import proc
from claude_bottle.backend.docker import images
from claude_bottle.backend.docker.engine import Engine
from claude_bottle.backend.docker.images import EngineImages, build, missing
from claude_bottle.backend.docker.recipe import Recipe, chain
from claude_bottle.errors import BottleError, EnvironmentLacks
from claude_bottle.harness.base import Program
from claude_bottle.state import ignore
from tests.backend.docker.test_recipe import image
from tests.docker_engine import ROOT, docker_client, docker_host, own_engine, own_or_found, with_base_image
from tests.docker_engine import Engine as Daemon
from tests.waiting import SECONDS, eventually

__all__ = ["docker_client", "docker_host"]

Said = Callable[[str], None]
REACH = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('198.51.100.1', 9))"


@pytest.fixture(scope="module")
def docker_engine() -> Iterator[Daemon]:
    """One of its own: what is pruned here, the tests beside this one stand on."""
    with own_or_found(None) as engine:
        yield engine


@pytest.fixture(scope="module")
def base_image(docker_engine: Daemon) -> str:
    return with_base_image(docker_engine)


@pytest.fixture
def engine(docker_host: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("CLAUDE_BOTTLE_HOME", str(tmp_path / "root"))
    (tmp_path / "root").mkdir(mode=0o700)
    return Engine()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    yield
    assert not list(tmp_path.rglob("build-*")), "a build context was left"


def made(daemon: Daemon, name: str, *steps: str) -> str:
    """An image for a test, from the steps of a Dockerfile."""
    text = "\n".join([*steps, f"LABEL claude-bottle-tests={name}"]) + "\n"
    daemon.docker("build", "--network=none", "--force-rm", f"--tag=claude-bottle-tests/{name}", "-", input=text.encode())
    return f"claude-bottle-tests/{name}"


def forget(daemon: Daemon, name: str) -> None:
    """The layers that a failed build on such an image leaves to the engine, to begin with the next time."""
    daemon.docker("image", "prune", "--force", f"--filter=label=claude-bottle-tests={name}")


def own(project: Path, *steps: str, network: bool = False) -> tuple[Recipe, ...]:
    """The operator's own Dockerfile, without what comes on top of it."""
    (project / "Dockerfile").write_text("\n".join(steps) + "\n")
    return chain("unused", own=image(project, network=network))[:1]


def built(engine: Engine, recipes: tuple[Recipe, ...], place: Path) -> list[str]:
    said: list[str] = []
    build(engine, recipes, place, said.append)
    return said


def ran(daemon: Daemon, tag: str, *words: str) -> str:
    return daemon.docker("run", "--rm", "--network=none", "--entrypoint=", tag, *words)


def test_nothing_is_built_twice_and_knowing_that_takes_one_question(
    engine: Engine, base_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = chain(base_image)
    built(engine, recipes, tmp_path)
    asked: list[Any] = []
    ask, run = Engine.ask, proc.run
    monkeypatch.setattr(Engine, "ask", lambda *words, **more: (asked.append(words), ask(*words, **more))[1])
    monkeypatch.setattr(proc, "run", lambda *words, **more: (asked.append(words), run(*words, **more))[1])
    assert missing(engine, recipes) == ()
    assert built(engine, recipes, tmp_path) == []
    assert len(asked) == 2, "one question each"


def test_a_client_that_talks_to_another_place_is_asked_the_same(
    engine: Engine, base_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = chain(base_image)
    built(engine, recipes, tmp_path)
    monkeypatch.setattr(Engine, "ask", lambda *_words, **_more: None)
    assert missing(engine, recipes) == ()
    assert missing(engine, chain("no-such-base")) == chain("no-such-base")


def test_an_image_is_one_a_bottle_can_run_in(docker_engine: Daemon, engine: Engine, base_image: str, tmp_path: Path) -> None:
    (tmp_path / "agent").write_text("#!/bin/sh\necho agent $1\n")
    (tmp_path / "agent").chmod(0o755)
    recipes = chain(base_image, program={str(tmp_path / "agent"): "/opt/agent/bin/agent"}, version="1")
    said = built(engine, recipes, tmp_path)
    assert any(recipes[-1].tag in line for line in said)
    looks = ["id -un agent", "id -u agent", "stat -c %u:%a /home/agent /workspace /opt/claude-bottle/init.py"]
    looks += ["for p in git curl rg python3; do command -v $p; done | wc -l", "/opt/agent/bin/agent 7"]
    looks += ["stat -c %u /opt/claude-bottle/__pycache__/init.*.pyc"]  # compiled once, not at every start
    found = ran(docker_engine, recipes[-1].tag, "sh", "-c", ";".join(looks)).split("\n")
    assert found == ["agent", "1000", "1000:755", "1000:755", "0:444", "4", "agent 7", "0"]


def test_a_base_with_a_user_1000_of_its_own_becomes_the_agents(
    docker_engine: Daemon, engine: Engine, base_image: str, tmp_path: Path
) -> None:
    steps = ["RUN groupadd -g 1000 node && useradd -u 1000 -g 1000 -m node && groupadd -g 2000 agent", "USER node"]
    base = made(docker_engine, "node", f"FROM {base_image}", *steps)
    recipes = chain(base)
    built(engine, recipes, tmp_path)
    found = ran(docker_engine, recipes[-1].tag, "sh", "-c", "id agent; cut -d: -f1,3 /etc/passwd /etc/group | grep :1000")
    assert found.split("\n") == ["uid=1000(agent) gid=1000(agent) groups=1000(agent)", "agent:1000", "agent:1000"]


def test_what_a_base_lacks_is_installed(docker_engine: Daemon, engine: Engine, base_image: str, tmp_path: Path) -> None:
    purge = "RUN dpkg --purge --force-depends $(dpkg-query -W -f '${Package}\\n' | grep '^python3\\|^libpython3\\|^ripgrep')"
    base = made(docker_engine, "without-python", f"FROM {base_image}", purge, "RUN ! command -v python3 && ! command -v rg")
    recipes = chain(base)
    built(engine, recipes, tmp_path)
    assert ran(docker_engine, recipes[-1].tag, "sh", "-c", "python3 -c 'print(7)'; rg --version | wc -l") != ""


def test_an_image_without_python_and_package_manager_says_so(
    docker_engine: Daemon, engine: Engine, base_image: str, tmp_path: Path
) -> None:
    base = made(docker_engine, "bare", f"FROM {base_image}", "RUN rm /usr/bin/python3* /usr/bin/apt-get")
    with pytest.raises(BottleError, match="could not be built") as told:
        built(engine, chain(base), tmp_path)
    forget(docker_engine, "bare")
    assert "this image has no Python, and no package manager that could install it" in told.value.why


def test_an_old_python_is_refused(docker_engine: Daemon, engine: Engine, base_image: str, tmp_path: Path) -> None:
    base = made(docker_engine, "old", f"FROM {base_image}", "RUN printf '#!/bin/sh\\nexit 1\\n' > /usr/local/bin/python3 "
                "&& chmod 755 /usr/local/bin/python3")  # fmt: skip
    with pytest.raises(BottleError) as told:
        built(engine, chain(base), tmp_path)
    forget(docker_engine, "old")
    assert "older than 3.9" in told.value.why


def test_a_dockerfile_of_ones_own_copies_what_its_directory_holds(
    docker_engine: Daemon, engine: Engine, base_image: str, project: Path, tmp_path: Path
) -> None:
    (project / "sub").mkdir(mode=0o750)
    (project / "sub" / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (project / "sub" / "run.sh").chmod(0o755)
    (project / "link").symlink_to("sub/run.sh")
    (project / "secret").write_text("s")
    (project / ".dockerignore").write_text("secret\nDockerfile\n")
    recipes = own(project, f"FROM {base_image}", "COPY . /src")
    built(engine, recipes, tmp_path)
    look = "cd /src; /src/link; ls -A; stat -c %a sub; readlink link"
    found = ran(docker_engine, recipes[-1].tag, "sh", "-c", look).split("\n")
    assert found == ["ran", ".dockerignore", "link", "sub", "750", "sub/run.sh"]


def test_steps_have_a_network_only_when_it_is_asked_for(
    engine: Engine, base_image: str, project: Path, tmp_path: Path
) -> None:
    step = f'RUN python3 -c "{REACH}"'
    with pytest.raises(BottleError) as told:
        built(engine, own(project, f"FROM {base_image}", step), tmp_path)
    assert "Network is unreachable" in told.value.why
    built(engine, own(project, f"FROM {base_image}", step, network=True), tmp_path)


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (["FRON x"], "FRON"), (["FROM {base}", "RUN echo told; exit 7"], "told"),
        (["FROM no-such-image-anywhere:x"], "no-such-image"),
        (["FROM {base}", "RUN printf 'a\\033]0;evil\\007b'; exit 1"], "exit"), (["FROM {base}", "COPY nowhere /"], "nowhere"),
    ],
)  # fmt: skip
def test_a_dockerfile_that_fails_is_told_by_the_end_of_its_output(
    docker_engine: Daemon, engine: Engine, base_image: str, project: Path, tmp_path: Path, steps: list[str], why: str
) -> None:
    with pytest.raises(BottleError) as told:
        built(engine, own(project, *(step.format(base=base_image) for step in steps)), tmp_path)
    assert why in told.value.why and "\033" not in told.value.why
    assert "exit 7" not in docker_engine.docker("ps", "--all", "--no-trunc"), "the container of the step that failed stayed"


def test_a_context_that_changes_while_it_is_built_is_not_built(
    docker_engine: Daemon, engine: Engine, base_image: str, project: Path, tmp_path: Path
) -> None:
    (project / "a").write_text("1")
    recipes = own(project, f"FROM {base_image}", "COPY a /")
    (project / "a").write_text("2")
    with pytest.raises(BottleError, match="changes while it is read"):
        built(engine, recipes, tmp_path)
    assert missing(engine, recipes) == recipes


def test_an_image_whose_label_lies_is_refused(docker_engine: Daemon, engine: Engine, base_image: str, tmp_path: Path) -> None:
    recipe = chain(base_image + "-lies")[0]
    docker_engine.docker("tag", base_image, recipe.tag)
    try:
        with pytest.raises(BottleError, match="is not what its name says") as told:
            built(engine, (recipe,), tmp_path)
        assert recipe.tag in told.value.do
    finally:
        docker_engine.docker("rmi", recipe.tag)


def test_a_full_disk_is_told_as_one(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon of its own, whose data lies on a file system of 24 MiB."""
    with (project / "big").open("wb") as file:
        file.truncate(64 << 20)
    with own_engine() as daemon:
        daemon.end_dockerd(signal.SIGTERM)  # it takes mounts below its place with it
        # In the daemon's namespace of mounts, which ends with it.
        [space] = running(f"sh -c while sleep 86400; do :; done {daemon.place}/space")
        inside = ["nsenter", f"--target={space}", "--mount", "--"]
        subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(daemon.place / "data")], check=True)
        daemon.restart()
        for name, value in daemon.settings.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(EnvironmentLacks, match="no disk space left") as told:
            built(Engine(), own(project, "FROM scratch", "COPY big /"), tmp_path)
        assert "docker system df" in told.value.do
        assert daemon.docker("ps", "--all", "--quiet") == ""


# By the command line, as a user does.


def cli(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "claude_bottle", *words], cwd=cwd, env=command_env(), capture_output=True,
                          text=True, check=False, stdin=subprocess.DEVNULL)  # fmt: skip


def command_env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def manifest(project: Path, image: dict[str, object] | None = None) -> None:
    bottle = {"backend": "docker"} | ({"image": image} if image else {})
    said = {"version": 1, "bottles": {"b": bottle}, "agents": {"shell": {"bottle": "b", "harness": "shell"}}}
    (project / "claude-bottle.json").write_text(json.dumps(said))
    assert cli("trust", "--yes", cwd=project).returncode == 0


def test_build_ls_and_prune_by_the_command_line(docker_engine: Daemon, engine: Engine, base_image: str) -> None:
    base = made(docker_engine, "chosen", f"FROM {base_image}", "ENV A=chosen")
    done = cli("image", "build", "--base", base, "--harness", "shell", "--json")
    assert done.returncode == 0, done.stderr
    name = json.loads(done.stdout)["image"]
    assert cli("image", "build", "--harness", "shell").stdout == f"{name}\n", "the base is remembered, nothing is built"
    found = {one["name"]: one for one in json.loads(cli("image", "ls", "--json").stdout)}
    assert found[name]["size"] > 1 << 20 and found[name]["id"].startswith("sha256:")
    line = next(line for line in cli("image", "ls").stdout.splitlines() if line.startswith(name))
    assert "MB" in line
    gone = cli("image", "prune", "--json")
    assert name in json.loads(gone.stdout)
    assert cli("image", "ls").stdout.count(name) == 0


def test_what_others_built_on_ours_is_neither_listed_nor_removed(
    docker_engine: Daemon, engine: Engine, base_image: str, tmp_path: Path
) -> None:
    """An image inherits the labels of what it is made from."""
    recipes = chain(base_image)
    built(engine, recipes, tmp_path)
    theirs = made(docker_engine, "theirs", f"FROM {recipes[-1].tag}", "ENV A=b")
    assert recipes[-1].digest in docker_engine.docker("image", "inspect", theirs)
    listed = [str(one["name"]) for one in EngineImages(engine).list()]
    assert recipes[-1].tag in listed and not [name for name in listed if "theirs" in name]
    docker_engine.docker("rmi", theirs)


def test_prune_keeps_what_a_kept_bottle_was_planned_with(
    docker_engine: Daemon, engine: Engine, base_image: str, project: Path
) -> None:
    (project / "Dockerfile").write_text(f"FROM {base_image}\nENV KEPT=1\n")
    manifest(project, {"dockerfile": "Dockerfile"})
    done = cli("run", "shell", "--", "false", cwd=project)
    assert done.returncode == 1, done.stderr
    assert "building image own: claude-bottle/own:" in done.stderr, "a missing image is built, visibly"
    [identity] = [one["identity"] for one in json.loads(cli("ls", "--all", "--json").stdout)["bottles"]]
    plan = json.loads((Path(os.environ["CLAUDE_BOTTLE_HOME"]) / "state" / identity / "plan.json").read_text())
    wanted = {plan["image"], *(step["tag"] for step in plan["image_build"])}
    assert not wanted & set(json.loads(cli("image", "prune", "--json").stdout))
    listed = {one["name"] for one in json.loads(cli("image", "ls", "--json").stdout)}
    assert wanted <= listed
    assert cli("cleanup", identity, "--yes").returncode == 0
    assert wanted <= set(json.loads(cli("image", "prune", "--json").stdout))


def test_a_failing_build_at_start_is_one_error_and_no_traceback(engine: Engine, base_image: str, project: Path) -> None:
    (project / "Dockerfile").write_text(f"FROM {base_image}\nRUN echo the reason; exit 3\n")
    manifest(project, {"dockerfile": "Dockerfile"})
    done = cli("run", "shell", "--", "true", cwd=project)
    assert done.returncode == 1
    assert "the image could not be built" in done.stderr and "the reason" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(cli("ls", "--all", "--json").stdout)["bottles"] == []


def test_an_interrupted_build_leaves_nothing(
    docker_engine: Daemon, engine: Engine, base_image: str, project: Path, tmp_path: Path
) -> None:
    mark = f"9{os.getpid():08}"  # seconds that nobody else on this machine sleeps for
    (project / "Dockerfile").write_text(f"FROM {base_image}\nRUN sleep {mark}\n")
    manifest(project, {"dockerfile": "Dockerfile"})
    command = [sys.executable, "-m", "claude_bottle", "run", "shell", "--", "true"]
    with subprocess.Popen(command, cwd=project, env=command_env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) as starting:  # fmt: skip
        eventually(lambda: running(f"sleep {mark}"))
        starting.send_signal(signal.SIGINT)
        said, _ = starting.communicate(timeout=SECONDS)
    assert starting.returncode == 130, said
    assert "Traceback" not in said
    eventually(lambda: not running(f"sleep {mark}"))
    eventually(lambda: mark not in docker_engine.docker("ps", "--all", "--no-trunc"))


def running(words: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            said = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except (OSError, UnicodeError):
            continue
        found += [entry.name] if entry.name.isdigit() and said == words else []
    return found


# `.dockerignore`, compared with what a real build copies.

NAMES = ["a", "ab", "x.log", "d/a", "d/b.md", "d/e/a", "d/e/x.log", "d/e/f/b.md", "e/d/a", "e/.log", "[x]", "s p"]
_SEGMENT = st.sampled_from(["a", "d", "e", "*", "?", "a*", "*.log", "*.md", "[ad]", "[^a]", "[a-d]", "**", "\\[x\\]", "s p"])
_PATTERN = st.lists(_SEGMENT, min_size=1, max_size=3).map("/".join).flatmap(
    lambda text: st.sampled_from([text, f"/{text}", f"{text}/", f"./{text}", f" {text} ", f"x/../{text}"])
)
# What takes back a part of what `**` matched means something else in docker before 23.
_RULES = st.lists(_PATTERN, min_size=1, max_size=3).flatmap(
    lambda said: st.just(said) if "**" in "".join(said) else st.sampled_from(NAMES[:-2]).map(lambda name: [*said, f"!{name}"])
)


@settings(max_examples=12, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(rules=_RULES)
def test_a_copy_leaves_out_what_a_real_build_leaves_out(
    docker_engine: Daemon, docker_client: str, tmp_path_factory: pytest.TempPathFactory, rules: list[str]
) -> None:
    place = tmp_path_factory.mktemp("context")
    for name in NAMES:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    (place / ".dockerignore").write_text("\n".join(rules) + "\n")
    ours = {path for path, entry in ignore.walk(str(place), ignore.read(str(place))) if entry.is_file(follow_symlinks=False)}
    assert ours - {".dockerignore"} == copied(docker_engine, docker_client, place), rules


def copied(daemon: Daemon, client: str, place: Path) -> set[str]:
    """The files that `COPY .` of a real build takes: by BuildKit where this client has it, else by the classic builder."""
    (place.parent / "Copying").write_text("FROM scratch\nCOPY . /c/\nCMD x\n")
    command = [client, "build", "--network=none", f"--file={place.parent}/Copying"]
    environment = daemon.environment()
    kit = {**environment, "DOCKER_BUILDKIT": "1"}
    done = subprocess.run([*command, "--output=-", str(place)], env=kit, capture_output=True, check=False)
    if done.returncode:
        tag = f"claude-bottle-tests/copied-{os.getpid()}"
        subprocess.run([*command, f"--tag={tag}", str(place)], env=environment, capture_output=True, check=True)
        container = daemon.docker("create", "--network=none", tag)
        done = subprocess.run([client, "export", container], env=environment, capture_output=True, check=True)
        daemon.docker("rm", container)
        daemon.docker("rmi", tag)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        found = {one.name.removeprefix("c/") for one in archive if one.isfile() and one.name.startswith("c/")}
    return {name for name in found if not name.startswith((".dockerignore", ".dockerfile."))}


def test_the_default_image_holds_the_agent_program(engine: Engine, base_image: str, tmp_path: Path) -> None:
    (tmp_path / "agent").write_text("#!/bin/sh\n")
    program = Program("/opt/agent", ((str(tmp_path / "agent"), "/opt/agent"),), "3")
    said: list[str] = []
    name = EngineImages(engine).build(base_image, program, said.append)
    assert images.chosen_base(images.Paths.default()) == base_image
    assert name.startswith("claude-bottle/agent:") and EngineImages(engine).remove(name)
    assert not EngineImages(engine).remove(name), "what is gone is no error"
