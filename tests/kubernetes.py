"""What do the manifests say? The objects that `kubectl apply -k` makes of them."""

import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.servers import ROOT
from tests.shell import run

MANIFESTS = ROOT / "deploy/kubernetes"
OVERLAYS = sorted(path.name for path in MANIFESTS.glob("overlays/*"))
COMPONENTS = sorted(path.name for path in MANIFESTS.glob("components/*"))

Object = dict[str, Any]


@cache
def render(directory: Path) -> list[Object]:
    kubectl = Path(sys.executable).with_name("kubectl")
    return list(yaml.safe_load_all(run(str(kubectl), "kustomize", str(directory))))


def overlay(name: str) -> list[Object]:
    return render(MANIFESTS / "overlays" / name)


def find(objects: list[Object], kind: str) -> Object:
    """Return the one object of that kind."""
    [found] = [each for each in objects if each["kind"] == kind]
    return found


def pod(objects: list[Object]) -> Object:
    """Return the specification of the pods, which have one container."""
    spec = find(objects, "Deployment")["spec"]["template"]["spec"]
    assert len(spec["containers"]) == 1
    return dict(spec)


def environ(pod: Object, **fields: str) -> dict[str, str]:
    """Return the environment of the container; `fields` are what the downward API would say."""
    return {
        each["name"]: each["value"]
        if "value" in each
        else fields[each["valueFrom"]["fieldRef"]["fieldPath"].rpartition(".")[2]]
        for each in pod["containers"][0]["env"]
    }


def container_port(pod: Object, name: str) -> int:
    [found] = [p["containerPort"] for p in pod["containers"][0]["ports"] if p["name"] == name]
    return int(found)


def mebibytes(quantity: str) -> int:
    assert quantity.endswith("Mi")
    return int(quantity.removesuffix("Mi"))
