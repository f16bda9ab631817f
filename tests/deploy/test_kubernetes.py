"""Kubernetes manifests, compared with the schemas of Kubernetes, the service, and compose."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped] # it has none
import pytest
import yaml
from kubernetes_validate import SchemaNotFoundError

import app
from app.management import ROUTES
from app.settings import Settings
from tests.kubernetes import (
    COMPONENTS,
    MANIFESTS,
    OVERLAYS,
    Object,
    container_port,
    environ,
    find,
    mebibytes,
    overlay,
    pod,
    render,
)
from tests.promql import DASHBOARD, PROMETHEUS, load
from tests.servers import ROOT

# Those that are supported; README says so.
KUBERNETES = ("1.34", "1.35", "1.36", "1.37")
# What Kubernetes itself does not know: the Prometheus operator and the Gateway API bring it.
CUSTOM_RESOURCES = {"PodMonitor", "PrometheusRule", "HTTPRoute"}
NAME = {"app.kubernetes.io/name": "hello-wsgi"}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["app"]


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return overlay(request.param)


def settings(objects: list[Object]) -> Settings:
    return Settings.from_environ(environ(pod(objects), name="", nodeName=""))


def validate(objects: list[Object], version: str) -> None:
    for each in objects:
        try:
            assert kubernetes_validate.validate(each, version, strict=True) == version
        except SchemaNotFoundError:
            assert each["kind"] in CUSTOM_RESOURCES


@pytest.mark.parametrize("version", KUBERNETES)
def test_an_overlay_is_valid(objects: list[Object], version: str) -> None:
    validate(objects, version)


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_is_valid_with_nothing_but_the_base(component: str, tmp_path: Path) -> None:
    def path(*names: str) -> str:
        return os.path.relpath(MANIFESTS.joinpath(*names), tmp_path.resolve())

    kustomization = {"resources": [path("base")], "components": [path("components", component)]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization))
    objects = render(tmp_path)
    assert objects != render(MANIFESTS / "base")
    for version in (KUBERNETES[0], KUBERNETES[-1]):
        validate(objects, version)


def test_each_overlay_and_each_component_is_described() -> None:
    table = re.findall(r"^\| `([a-z-]+)` \|", (ROOT / "deploy/README.md").read_text(), re.MULTILINE)
    assert sorted(table) == sorted(OVERLAYS + COMPONENTS)


def test_the_supported_versions_are_those_of_readme() -> None:
    text = (ROOT / "deploy/README.md").read_text()
    assert f"Kubernetes {KUBERNETES[0]} to {KUBERNETES[-1]}" in text


def test_the_base_chooses_no_namespace() -> None:
    base = render(MANIFESTS / "base")
    assert all("namespace" not in each["metadata"] for each in base)
    assert "Namespace" not in {each["kind"] for each in base}


def test_all_is_in_a_namespace_that_takes_restricted_pods_only(objects: list[Object]) -> None:
    namespace = find(objects, "Namespace")["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    names = {each["metadata"].get("namespace") for each in objects if each["kind"] != "Namespace"}
    assert names == {namespace["name"]}


def test_a_pod_is_restricted(objects: list[Object]) -> None:
    spec = pod(objects)
    [user, group] = re.findall(
        r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )[0]
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}


def test_a_pod_can_ask_the_cluster_nothing(objects: list[Object]) -> None:
    account = find(objects, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    spec = pod(objects)
    assert spec["serviceAccountName"] == account["metadata"]["name"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"} & {
        each["kind"] for each in objects
    }


def test_pod_has_no_volume(objects: list[Object]) -> None:
    # The service writes no files.
    assert "volumes" not in pod(objects)
    assert "tmpfs" not in COMPOSE


def test_the_resources_are_those_that_compose_allows(objects: list[Object]) -> None:
    [container] = pod(objects)["containers"]
    limits, requests = (container["resources"][each] for each in ("limits", "requests"))
    allowed = COMPOSE["deploy"]["resources"]["limits"]
    assert limits["cpu"] == allowed["cpus"]
    assert limits["memory"] == f"{allowed['memory']}i"
    assert mebibytes(requests["memory"]) <= mebibytes(limits["memory"])
    assert requests["cpu"].endswith("m")
    assert settings(objects).web_concurrency == COMPOSE["environment"]["WEB_CONCURRENCY"]


def test_only_what_the_service_reads_is_set(objects: list[Object]) -> None:
    names = {each["name"] for each in pod(objects)["containers"][0]["env"]}
    assert names <= {each.upper() for each in Settings._fields} | {"POD_NAME", "NODE_NAME"}


def test_the_ports_are_those_of_the_service(objects: list[Object]) -> None:
    spec = pod(objects)
    assert container_port(spec, "http") == settings(objects).port
    assert container_port(spec, "management") == settings(objects).management_port
    assert len(spec["containers"][0]["ports"]) == 2


@pytest.mark.parametrize(
    ("probe", "path"),
    [("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")],
)
def test_a_probe_asks_what_the_management_port_answers(
    objects: list[Object], probe: str, path: str
) -> None:
    [container] = pod(objects)["containers"]
    assert container[probe]["httpGet"] == {"path": path, "port": "management"}
    assert path in ROUTES
    assert container[probe]["timeoutSeconds"] <= container[probe]["periodSeconds"]


def test_a_pod_is_out_of_the_endpoints_long_before_it_is_started_anew(
    objects: list[Object],
) -> None:
    [container] = pod(objects)["containers"]
    ready, alive = (
        container[each]["periodSeconds"] * container[each]["failureThreshold"]
        for each in ("readinessProbe", "livenessProbe")
    )
    assert alive >= 3 * ready
    restarted = alive + pod(objects)["terminationGracePeriodSeconds"]
    text = (MANIFESTS / "base/deployment.yaml").read_text()
    assert f"A frozen pod is restarted after {restarted} s" in text


def test_there_is_time_to_leave_the_endpoints_and_then_to_drain(objects: list[Object]) -> None:
    spec = pod(objects)
    pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause >= 10
    drained = pause + settings(objects).graceful_timeout
    assert spec["terminationGracePeriodSeconds"] >= drained + 5


def test_what_a_failed_start_has_said_is_shown(objects: list[Object]) -> None:
    [container] = pod(objects)["containers"]
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_no_pod_goes_before_its_successor_is_ready(objects: list[Object]) -> None:
    spec = find(objects, "Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["revisionHistoryLimit"] <= 5


def test_pods_are_spread_over_zones_and_nodes(objects: list[Object]) -> None:
    constraints = pod(objects)["topologySpreadConstraints"]
    keys = [each["topologyKey"] for each in constraints]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    for each in constraints:
        assert each["labelSelector"] == {"matchLabels": NAME}
        assert each["matchLabelKeys"] == ["pod-template-hash"]
        # Where it can't be, a pod runs all the same.
        assert each["whenUnsatisfiable"] == "ScheduleAnyway"


def test_a_drained_node_takes_one_pod_at_a_time(objects: list[Object]) -> None:
    budget = find(objects, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize("directory", ["base", *(f"overlays/{name}" for name in OVERLAYS)])
def test_every_selector_finds_the_pods(directory: str) -> None:
    objects = render(MANIFESTS / directory)
    deployment = find(objects, "Deployment")["spec"]
    assert NAME.items() <= deployment["template"]["metadata"]["labels"].items()
    assert deployment["selector"] == {"matchLabels": NAME}
    assert find(objects, "Service")["spec"]["selector"] == NAME
    for each in objects:
        if each["kind"] in ("PodDisruptionBudget", "PodMonitor"):
            assert each["spec"]["selector"] == {"matchLabels": NAME}
        if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] != "default-deny":
            assert each["spec"]["podSelector"] == {"matchLabels": NAME}


def test_everything_has_the_recommended_labels(objects: list[Object]) -> None:
    names = {"name", "instance", "version", "component", "part-of", "managed-by"}
    template = find(objects, "Deployment")["spec"]["template"]
    for each in (*objects, template):
        assert {f"app.kubernetes.io/{name}" for name in names} <= each["metadata"]["labels"].keys()


def test_the_management_port_is_in_no_service(objects: list[Object]) -> None:
    [port] = find(objects, "Service")["spec"]["ports"]
    assert port["targetPort"] == "http"


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("local", COMPOSE["image"]),
        ("production", f"registry.example.com/hello-wsgi:{app.__version__}"),
    ],
)
def test_image_has_tag(name: str, image: str) -> None:
    [container] = pod(overlay(name))["containers"]
    assert container["image"] == image
    assert container["imagePullPolicy"] == "IfNotPresent"


def render_edited(directory: Path, name: str, edit: Callable[[Object], None]) -> list[Object]:
    """Render an overlay whose kustomization has been edited, in a copy of the manifests."""
    shutil.copytree(ROOT / "deploy", directory / "deploy")
    overlay = directory / "deploy/kubernetes/overlays" / name
    file = overlay / "kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text())
    edit(kustomization)
    # `kustomize edit` also rewrites the whole file, without aliases and comments.
    file.write_text(yaml.safe_dump(kustomization))
    return render(overlay)


DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.mark.parametrize("name", OVERLAYS)
@pytest.mark.parametrize(
    ("image", "shown"),
    [
        ({"newTag": "1.10"}, "1.10"),
        ({"newName": "registry.example.com:5000/team/hello-wsgi", "newTag": "2.0.0"}, "2.0.0"),
        ({"newTag": "2.0.0", "digest": DIGEST}, "2.0.0"),
    ],
    ids=["tag like a number", "registry with port", "digest"],
)
def test_version_label_follows_image(
    tmp_path: Path, name: str, image: dict[str, str], shown: str
) -> None:
    objects = render_edited(tmp_path, name, lambda edited: edited["images"][0].update(image))
    labeled = [*objects, find(objects, "Deployment")["spec"]["template"]]
    labels = [each["metadata"]["labels"]["app.kubernetes.io/version"] for each in labeled]
    assert set(labels) == {shown}
    assert f":{shown}" in pod(objects)["containers"][0]["image"]


# https://docs.redhat.com/en/documentation/openshift_container_platform/4.19/html/authentication_and_authorization/managing-pod-security-policies
RESTRICTED_V2_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def test_openshift_component_meets_restricted_v2(tmp_path: Path) -> None:
    component = "../../components/openshift"
    objects = render_edited(
        tmp_path, "production", lambda edited: edited["components"].insert(0, component)
    )
    spec = pod(objects)
    [container] = spec["containers"]
    # MustRunAsRange and MustRunAs: the namespace's annotations choose the IDs.
    for context in (spec["securityContext"], container["securityContext"]):
        assert not context.keys() & {"runAsUser", "runAsGroup", "fsGroup", "seLinuxOptions"}
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "privileged" not in container["securityContext"]
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert all("hostPort" not in port for port in container["ports"])
    volumes = {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"}
    assert volumes <= RESTRICTED_V2_VOLUMES


def test_locally_there_is_one_pod() -> None:
    assert find(overlay("local"), "Deployment")["spec"]["replicas"] == 1


def test_in_production_the_autoscaler_alone_says_how_many_pods_there_are() -> None:
    objects = overlay("production")
    deployment = find(objects, "Deployment")
    assert "replicas" not in deployment["spec"]
    autoscaler = find(objects, "HorizontalPodAutoscaler")["spec"]
    assert autoscaler["scaleTargetRef"] == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert 2 < autoscaler["minReplicas"] < autoscaler["maxReplicas"]
    assert autoscaler["behavior"].keys() == {"scaleUp", "scaleDown"}


def policies(objects: list[Object]) -> dict[str, Any]:
    return {
        each["metadata"]["name"]: each["spec"]
        for each in objects
        if each["kind"] == "NetworkPolicy"
    }


def test_a_pod_may_connect_to_nobody_and_be_reached_by_anyone_on_the_public_port(
    objects: list[Object],
) -> None:
    policy = policies(objects)["hello-wsgi"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"ports": [{"port": "http"}]}]
    assert all("egress" not in each for each in policies(objects).values())


def test_in_production_nobody_else_may_talk_but_monitoring_to_the_management_port() -> None:
    found = policies(overlay("production"))
    assert found.keys() == {"default-deny", "hello-wsgi", "hello-wsgi-metrics"}
    assert found["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    [allowed] = found["hello-wsgi-metrics"]["ingress"]
    labels = {"kubernetes.io/metadata.name": "monitoring"}
    assert allowed == {
        "from": [{"namespaceSelector": {"matchLabels": labels}}],
        "ports": [{"port": "management"}],
    }


def test_in_production_the_policies_cover_every_port() -> None:
    objects = overlay("production")
    rules = [rule for policy in policies(objects).values() for rule in policy.get("ingress", [])]
    covered = {port["port"] for rule in rules for port in rule["ports"]}
    assert covered == {port["name"] for port in pod(objects)["containers"][0]["ports"]}


def test_the_operator_scrapes_the_job_that_the_rules_select() -> None:
    objects = overlay("production")
    monitor = find(objects, "PodMonitor")["spec"]
    labels = find(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels[monitor["jobLabel"]] == load("prometheus.yml")["scrape_configs"][0]["job_name"]
    assert monitor["podMetricsEndpoints"] == [{"port": "management"}]
    # What the operator asks for by default.
    assert "/metrics" in ROUTES


def test_the_operator_limits_a_scrape_as_compose_does() -> None:
    monitor = find(overlay("production"), "PodMonitor")["spec"]
    limits = {
        name: limit for name, limit in load("prometheus.yml")["global"].items() if "limit" in name
    }
    names = {name: re.sub(r"_(\w)", lambda letter: letter[1].upper(), name) for name in limits}
    assert {name: monitor[names[name]] for name in limits} == limits


def test_the_operator_evaluates_the_rules_of_compose() -> None:
    spec = find(overlay("production"), "PrometheusRule")["spec"]
    files = sorted(file.name for file in PROMETHEUS.glob("rules/*.yml"))
    assert spec == {"groups": [g for name in files for g in load(f"rules/{name}")["groups"]]}


def test_grafana_loads_the_dashboard_of_compose() -> None:
    config = find(overlay("production"), "ConfigMap")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    [dashboard] = config["data"].values()
    assert json.loads(dashboard) == DASHBOARD


def component(file: str) -> Any:
    return yaml.safe_load((MANIFESTS / "components" / file).read_text())["spec"]


@pytest.fixture
def kubernetes_service() -> Object:
    return find(render(MANIFESTS / "base"), "Service")


def test_a_gateway_leads_to_the_service(kubernetes_service: Object) -> None:
    [port] = kubernetes_service["spec"]["ports"]
    backend = {"name": kubernetes_service["metadata"]["name"], "port": port["port"]}
    assert component("gateway/http-route.yaml")["rules"] == [{"backendRefs": [backend]}]


def test_an_ingress_leads_to_the_service_by_tls(kubernetes_service: Object) -> None:
    [port] = kubernetes_service["spec"]["ports"]
    backend = {"name": kubernetes_service["metadata"]["name"], "port": {"name": port["name"]}}
    ingress = component("ingress/ingress.yaml")
    [rule] = ingress["rules"]
    paths = [{"path": "/", "pathType": "Prefix", "backend": {"service": backend}}]
    assert rule["http"] == {"paths": paths}
    assert [each["hosts"] for each in ingress["tls"]] == [[rule["host"]]]
