"""Capabilities on a container engine: each is one more recipe on top of the image that a plan names.

A package capability becomes one RUN whose text says everything: which packages, from which registry, trusting which further
authority. So the tag of the image is the hash of all of it, nothing secret goes in, and the context is empty. Its step
reaches what the engine reaches, which the plan says.
"""

from __future__ import annotations

import base64
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bottle.backend import packages
from claude_bottle.backend.docker import images
from claude_bottle.backend.docker.capability_apply import layer as recipe_of
from claude_bottle.errors import BottleError, EnvironmentLacks, Refused
from claude_bottle.model.capability import APT, CARGO, DOCKERFILE, GO, MAX_LAYERS, NPM, PIP, Capability
from claude_bottle.model.plan import BottlePlan, Layer
from claude_bottle.state.config import Registry, Settings
from claude_bottle.state.paths import Paths
from claude_bottle.values import replace

if TYPE_CHECKING:
    from claude_bottle.backend.docker.engine import Engine
    from claude_bottle.backend.docker.recipe import Recipe
    from claude_bottle.harness.base import Progress

KIND = "layer"
REACHES = "what the engine reaches"
# A step is one argument of its shell (execve(2): 128 KiB), of which a certificate or a keyring may take this much.
_MOST_INLINE = 48 << 10
_BUNDLE, _TRUSTED = "/etc/ssl/certs/ca-certificates.crt", "/tmp/claude-bottle-authorities.pem"
_TRUSTING = ("PIP_CERT", "NODE_EXTRA_CA_CERTS", "CARGO_HTTP_CAINFO", "SSL_CERT_FILE")
_APT = "apt-get -qq update && apt-get -qq install -y --no-install-recommends --"
_CLEAN = "rm -rf /var/lib/apt/lists/*"
# The program each kind needs, and the Debian package that brings it where the image has none.
_TOOLS = {PIP: ("pip3", "python3-pip"), NPM: ("npm", "npm"), CARGO: ("cargo", "cargo"), GO: ("go", "golang-go")}


def with_layer(plan: BottlePlan, capability: Capability) -> BottlePlan:
    """See `Backend.with_layer`."""
    if len(plan.layers) >= MAX_LAYERS:
        raise Refused(f"a bottle has at most {MAX_LAYERS} layers", do="put packages of a kind into one")
    recipe = _recipe(plan, capability)
    layer = Layer(capability, recipe.tag, (REACHES,) if recipe.network else ())
    return replace(plan, image=recipe.tag, image_build=(*plan.image_build, recipe.to_dict()), layers=(*plan.layers, layer))


def below(plan: BottlePlan, count: int) -> BottlePlan:
    """See `Backend.below`."""
    if count >= len(plan.layers):
        return plan
    steps = [step for step in plan.image_build if step["kind"] == KIND]
    kept = {layer.name for layer in plan.layers[:count]}
    return replace(
        plan, image=str(steps[count]["from"]), layers=plan.layers[:count],
        image_build=tuple(step for step in plan.image_build if step["kind"] != KIND or step["tag"] in kept),
    )  # fmt: skip


def build_layer(engine: Engine, plan: BottlePlan, capability: Capability, progress: Progress) -> BottlePlan:
    """See `Backend.build_layer`."""
    wanted, paths = with_layer(plan, capability), Paths.default()
    recipe = _recipe(plan, capability)
    if images.missing(engine, (recipe,)):
        if not images.exists(engine, plan.image):
            raise EnvironmentLacks("the image to build on is missing", why=plan.image,
                                   do="claude-bottle resume builds it again")  # fmt: skip
        paths.ensure_root()
        try:
            images.build(engine, (recipe,), paths.root, progress)
        except EnvironmentLacks:
            raise
        except BottleError as problem:
            raise BottleError("the layer could not be built", why=problem.why, do="ask for something else") from problem
    return wanted


def _recipe(plan: BottlePlan, capability: Capability) -> Recipe:
    if capability.kind == DOCKERFILE:
        return recipe_of(plan.image, capability.fragment, network=capability.network)
    settings = Settings.load(Paths.default())
    text = fragment(capability, settings.registries.get(capability.kind), settings.ca)
    return recipe_of(plan.image, text, network=True)


def fragment(capability: Capability, registry: Registry | None, authority: str | None) -> str:
    """The one step that installs packages. `authority`: the path of further roots that its downloads may prove themselves
    by; they are not left in the image. BottleError when a file of the operator's cannot be read or is too large."""
    kind, items = capability.kind, " ".join(shlex.quote(item) for item in capability.items)
    steps, names = ["set -e", "export DEBIAN_FRONTEND=noninteractive"], dict.fromkeys(_TRUSTING, _TRUSTED)
    if authority:
        steps += [f"{{ cat {_BUNDLE} 2> /dev/null || true; echo {_inline(authority)} | base64 -d; }} > {_TRUSTED}",
                  "export " + " ".join(f"{name}={path}" for name, path in names.items())]  # fmt: skip
    if kind in _TOOLS:
        tool, package = _TOOLS[kind]
        steps.append(f"command -v {tool} > /dev/null || {{ {_APT} {package} && {_CLEAN}; }}")
    steps += _install(kind, items, registry)
    if authority:
        steps.append(f"rm -f {_TRUSTED}")
    return f"RUN {' && '.join(steps)}\n"


def _install(kind: str, items: str, registry: Registry | None) -> list[str]:
    url = shlex.quote(registry.url) if registry else ""
    if kind == APT:
        return [*(_apt_source(registry) if registry else ()), f"{_APT} {items}", _CLEAN]
    if kind == PIP:
        host = shlex.quote(registry.place()[0]) if registry and registry.url.startswith("http:") else ""
        options = "--no-cache-dir --no-input --disable-pip-version-check"
        options += (f" --index-url {url}" if url else "") + (f" --trusted-host {host}" if host else "")
        trusting = "export PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore"
        return [trusting, f"python3 -m pip install {options} -- {items}"]
    if kind == NPM:
        options = "--no-audit --no-fund --no-update-notifier" + (f" --registry {url}" if url else "")
        return [f"npm install --global --prefix /usr/local {options} -- {items}", "rm -rf /root/.npm"]
    if kind == CARGO:
        settings = (f'source.operator.registry="{packages.cargo_index(registry)}"',
                    'source.crates-io.replace-with="operator"') if registry else ()  # fmt: skip
        options = "".join(f" --config {shlex.quote(one)}" for one in settings)
        return [packages.CARGO_READS_SPARSE, f"CARGO_HOME=/tmp/cargo cargo install{options} --root /usr/local -- {items}",
                "rm -rf /tmp/cargo"]  # fmt: skip
    places = "GOPATH=/tmp/go GOCACHE=/tmp/gocache GOBIN=/usr/local/bin GOFLAGS=-modcacherw"
    places += f" GOPROXY={url} GOSUMDB=off" if url else ""
    versioned = "case $one in *@*) ;; *) one=$one@latest;; esac"
    return [f"for one in {items}; do {versioned}; {places} go install -- $one || exit 1; done", "rm -rf /tmp/go /tmp/gocache"]


def _apt_source(registry: Registry) -> list[str]:
    """The operator's source instead of the image's own."""
    keyring = "/usr/share/keyrings/claude-bottle-operator.gpg"
    steps = ["rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*", "mkdir -p /usr/share/keyrings"]
    signed = ""
    if registry.keyring:
        steps.append(f"echo {_inline(registry.keyring)} | base64 -d > {keyring}")
        signed = f"Signed-By: {keyring}\\n"
    parts = f"Components: {' '.join(registry.components)}\\n" if registry.components else ""
    text = f"Types: deb\\nURIs: {registry.url}\\nSuites: {' '.join(registry.suites)}\\n{parts}{signed}"
    return [*steps, f"printf {shlex.quote(text)} > /etc/apt/sources.list.d/claude-bottle.sources"]


def _inline(path: str) -> str:
    try:
        data = Path(path).read_bytes()
    except OSError as problem:
        raise BottleError(f"cannot read {path}", why=str(problem), do="correct config.json") from problem
    if len(data) > _MOST_INLINE:
        raise BottleError(f"{path} is too large for a build", why=f"more than {_MOST_INLINE >> 10} KiB",
                          do="name a file with your own authority only in config.json")  # fmt: skip
    return base64.b64encode(data).decode()
