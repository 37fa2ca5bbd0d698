"""The manifests and Helm values in deploy/kubernetes: of an accepted form, and the deployment of the compose file.

No cluster runs them here. The schemas are Kubernetes' own, KEDA's as keda.json has them, and what dagster-chart.json
notes of Dagster's Helm chart.
"""

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import kubernetes_validate
import pytest
import yaml

from login_pipeline.instance.worker import LAST_SECONDS
from login_pipeline_tests import ROOT

Mapping = dict[str, Any]

FOLDER = ROOT / "deploy" / "kubernetes"
HERE = Path(__file__).parent
KUBERNETES = "1.37"
KEDA: Mapping = json.loads((HERE / "keda.json").read_text(encoding="utf-8"))
CHART: Mapping = json.loads((HERE / "dagster-chart.json").read_text(encoding="utf-8"))
DOCUMENT = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
SERVICES: Mapping = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
# The containers of docker-compose.yml speak to LocalStack. On AWS the role of the service account gives credentials.
FOR_LOCALSTACK = {
    "AWS_ACCESS_KEY_ID",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
}
MAINTENANCE_PASSWORD_SOURCE = "LOGIN_MAINTENANCE_DATABASE_PASSWORD_SOURCE"  # noqa: S105

OBJECTS: list[Mapping] = [
    document
    for file in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))
]
NAMES = [f"{each['kind']}/{each['metadata']['name']}" for each in OBJECTS]
BY_NAME = dict(zip(NAMES, OBJECTS, strict=True))
WORKER: Mapping = BY_NAME["Deployment/login-pipeline-worker"]["spec"]["template"]["spec"]
PREPARE: Mapping = BY_NAME["CronJob/login-pipeline-prepare"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
SETTINGS: Mapping = BY_NAME["ConfigMap/login-pipeline-settings"]["data"]


def merged(onto: Any, values: Any) -> Any:
    """As Helm merges files of values: mappings by key, and of anything else the last one."""
    if isinstance(onto, dict) and isinstance(values, dict):
        return {**onto, **{key: merged(onto.get(key), value) for key, value in values.items()}}
    return deepcopy(values)


def values_of(*files: str) -> Mapping:
    values: Mapping = {}
    for file in files:
        values = merged(values, yaml.safe_load((FOLDER / "helm" / file).read_text(encoding="utf-8")))
    return values


VALUES = {"celery": values_of("values.yaml"), "kubernetes": values_of("values.yaml", "k8s-run-launcher.yaml")}
(CODE_SERVER,) = VALUES["celery"]["dagster-user-deployments"]["deployments"]
OF_RUNS: Mapping = VALUES["kubernetes"]["runLauncher"]["config"]["k8sRunLauncher"]


def pod_of(values: Mapping) -> Mapping:
    """What the chart makes of the values of one of its processes."""
    container = {
        "name": "dagster",
        "image": "{repository}:{tag}".format(**values["image"]),
        "imagePullPolicy": values["image"]["pullPolicy"],
        "env": values.get("env", []),
        "envFrom": [{"configMapRef": each} for each in values.get("envConfigMaps", [])],
        **{key: values[key] for key in ("securityContext", "resources", "volumeMounts")},
    }
    if probe := values.get("readinessProbe"):
        container["readinessProbe"] = {key: value for key, value in probe.items() if key != "enabled"}
    return {
        "containers": [container],
        "securityContext": values["podSecurityContext"],
        "volumes": values["volumes"],
    }


def pod_of_a_run() -> Mapping:
    """What Dagster's launcher makes of its values: a pod for each run."""
    own = OF_RUNS["runK8sConfig"]
    container = {
        "name": "dagster",
        "image": "login-pipeline",
        "envFrom": [{"configMapRef": each} for each in OF_RUNS["envConfigMaps"]],
        **{key: OF_RUNS[key] for key in ("securityContext", "resources", "volumeMounts")},
        **own["containerConfig"],
    }
    return {"containers": [container], "volumes": OF_RUNS["volumes"], **own["podSpecConfig"]}


PODS = {
    "worker": WORKER,
    "prepare": PREPARE,
    "webserver": pod_of(VALUES["celery"]["dagsterWebserver"]),
    "daemon": pod_of(VALUES["celery"]["dagsterDaemon"]),
    "code server": pod_of(CODE_SERVER),
    "run": pod_of_a_run(),
}


def check(document: Mapping) -> None:
    """Raises ValidationError for a key that is unknown or missing, and for a value of another type."""
    if document["apiVersion"].startswith("keda.sh/"):
        jsonschema.validate(document, KEDA[document["kind"]])
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def mappings(node: Any) -> list[Mapping]:
    """All mappings in a document."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [*([node] if isinstance(node, dict) else []), *(found for each in inner for found in mappings(each))]


def variables(pod: Mapping) -> set[str]:
    """The names in the environment of a pod's only container."""
    (container,) = pod["containers"]
    names = [each["name"] for each in container.get("env", [])]
    for source in container.get("envFrom", []):
        names += BY_NAME[f"ConfigMap/{source['configMapRef']['name']}"]["data"]
    assert len(names) == len(set(names)), "a name is there twice"
    return set(names)


def variables_of(service: str) -> set[str]:
    """The names in the environment of a service of docker-compose.yml."""
    return set(SERVICES[service]["environment"])


@pytest.mark.parametrize("document", OBJECTS, ids=NAMES)
def test_object_is_of_a_form_that_kubernetes_accepts(document: Mapping) -> None:
    check(document)


@pytest.mark.parametrize("document", OBJECTS, ids=NAMES)
def test_misspelt_key_is_refused(document: Mapping) -> None:
    for part in ("", "spec"):
        for key in document.get(part, {}) if part else document.keys() - {"apiVersion", "kind"}:
            wrong = deepcopy(document)
            within = wrong[part] if part else wrong
            within[f"{key}s"] = within.pop(key)
            with pytest.raises(jsonschema.ValidationError):
                check(wrong)


@pytest.mark.parametrize("document", OBJECTS, ids=NAMES)
def test_wrong_type_is_refused(document: Mapping) -> None:
    for key in document.keys() - {"apiVersion", "kind"}:
        with pytest.raises(jsonschema.ValidationError):
            check({**document, key: ["a list"]})


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_values_are_those_that_the_chart_takes(values: Mapping) -> None:
    jsonschema.validate(values, CHART)
    for section in values.keys() - {"additionalInstanceConfig"}:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**values, f"{section}s": values[section]}, CHART)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**values, section: ["a list"]}, CHART)


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_pod_is_of_a_form_that_kubernetes_accepts(pod: Mapping) -> None:
    document: Mapping = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": deepcopy(pod)}
    check(document)
    document["spec"]["containers"][0]["securityContext"]["readonlyRootFilesystem"] = True
    with pytest.raises(jsonschema.ValidationError):
        check(document)


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_pod_is_locked(pod: Mapping) -> None:
    (container,) = pod["containers"]
    context = {**pod["securityContext"], **container["securityContext"]}
    assert context == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
    (volume,) = pod["volumes"]
    assert volume["emptyDir"]["medium"] == "Memory"
    assert container["volumeMounts"] == [{"name": volume["name"], "mountPath": "/tmp"}]  # noqa: S108 (the pod's own)


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ("worker", variables_of("worker") - FOR_LOCALSTACK - {"LOGIN_ALERT_URL"}),  # the code server alerts
        # Its launcher needs no Redis.
        ("run", variables_of("worker") - FOR_LOCALSTACK - {"LOGIN_ALERT_URL", "LOGIN_REDIS_URL"}),
        # The daemon of docker-compose.yml starts a code server itself.
        ("code server", variables_of("dagster-daemon") - FOR_LOCALSTACK),
        # Its pod has no role of AWS, so its password is in a Secret.
        ("prepare", variables_of("prepare") - FOR_LOCALSTACK - {"AWS_REGION", MAINTENANCE_PASSWORD_SOURCE}),
        # What dagster.yaml names; the chart names the database.
        ("daemon", {"LOGIN_REDIS_URL", "LOGIN_MAX_CONCURRENT_RUNS"}),
        ("webserver", {"LOGIN_REDIS_URL", "LOGIN_MAX_CONCURRENT_RUNS"}),
    ],
)
def test_environment_has_the_variables_that_the_compose_file_gives(pod: str, expected: set[str]) -> None:
    assert variables(PODS[pod]) == expected


def test_a_run_of_its_own_job_is_as_one_of_a_worker() -> None:
    run, worker = pod_of_a_run(), WORKER
    for key in (
        "serviceAccountName",
        "terminationGracePeriodSeconds",
        "shareProcessNamespace",
        "securityContext",
        "volumes",
    ):
        assert run[key] == worker[key]
    for key in ("securityContext", "resources", "volumeMounts"):
        assert run["containers"][0][key] == worker["containers"][0][key]
    assert [each for each in worker["containers"][0]["env"] if each["name"] != "LOGIN_REDIS_URL"] == run["containers"][
        0
    ]["env"]
    labels = OF_RUNS["runK8sConfig"]["podTemplateSpecMetadata"]["labels"]
    assert labels == BY_NAME["NetworkPolicy/login-pipeline"]["spec"]["podSelector"]["matchLabels"]


def test_a_stopped_worker_has_the_time_of_the_compose_file() -> None:
    assert f"{WORKER['terminationGracePeriodSeconds']}s" == SERVICES["worker"]["stop_grace_period"]
    assert WORKER["terminationGracePeriodSeconds"] > LAST_SECONDS
    assert WORKER["containers"][0]["command"] == SERVICES["worker"]["command"]


def test_workers_are_scaled_by_batches_that_wait_or_are_in_flight() -> None:
    spec = BY_NAME["ScaledObject/login-pipeline-worker"]["spec"]
    assert f"Deployment/{spec['scaleTargetRef']['name']}" in BY_NAME
    assert "replicas" not in BY_NAME["Deployment/login-pipeline-worker"]["spec"]  # or each apply would set it
    assert str(spec["maxReplicaCount"]) == SETTINGS["LOGIN_MAX_CONCURRENT_RUNS"]
    assert spec["minReplicaCount"] >= 1
    (trigger,) = spec["triggers"]
    assert f"TriggerAuthentication/{trigger['authenticationRef']['name']}" in BY_NAME
    assert trigger["type"] == "aws-sqs-queue"
    assert trigger["metadata"] == {
        "queueURLFromEnv": "LOGIN_QUEUE_URL",
        "awsRegion": SETTINGS["AWS_REGION"],
        "queueLength": SETTINGS["LOGIN_BATCH_SIZE"],
        "scaleOnInFlight": "true",
    }


@pytest.mark.parametrize("launcher", VALUES)
def test_the_chart_writes_the_dagster_yaml_of_the_image(launcher: str) -> None:
    values = VALUES[launcher]
    written = {**values["additionalInstanceConfig"], "telemetry": values["telemetry"]}
    ours: Mapping = yaml.safe_load((ROOT / "deploy" / "dagster.yaml").read_text(encoding="utf-8"))
    assert ours.pop("compute_logs")["class"] == values["computeLogManager"]["type"]
    run_launcher = ours.pop("run_launcher")
    if launcher == "celery":
        assert values["runLauncher"]["config"]["customRunLauncher"] == run_launcher
    assert set(ours.pop("storage")) == {"postgres"}
    assert values["postgresql"]["postgresqlScheme"] == urlsplit(SETTINGS["LOGIN_DAGSTER_DATABASE_URL"]).scheme
    sensors = values["dagsterDaemon"]["sensors"]
    written["sensors"] = {"use_threads": sensors["useThreads"], "num_workers": sensors["numWorkers"]}
    assert written == ours
    # Each of these the chart would write a second time.
    assert not values["retention"]["enabled"]
    assert not values["dagsterDaemon"]["runCoordinator"]["enabled"]
    assert not values["dagsterDaemon"]["runMonitoring"]["enabled"]


def test_every_setting_and_secret_that_a_pod_names_exists() -> None:
    created = {
        (name, key)
        for name, keys in re.findall(r"create secret generic (\S+)((?: --from-\w+=\S+)+)", DOCUMENT.replace("\\\n", ""))
        for key in re.findall(r"--from-\w+=([\w-]+)", keys)
    }
    everything = mappings([OBJECTS, *VALUES.values()])
    secrets = {
        (each["secretKeyRef"]["name"], each["secretKeyRef"]["key"]) for each in everything if "secretKeyRef" in each
    }
    secrets.add((VALUES["celery"]["global"]["postgresqlSecretName"], "postgresql-password"))  # the chart's own key
    assert secrets == created
    for reference in (each["configMapKeyRef"] for each in everything if "configMapKeyRef" in each):
        assert reference["key"] in BY_NAME[f"ConfigMap/{reference['name']}"]["data"]
    assert f"ServiceAccount/{WORKER['serviceAccountName']}" in BY_NAME


def test_no_secret_is_in_the_files() -> None:
    assert not any(each["kind"] == "Secret" for each in OBJECTS)
    everything = mappings([OBJECTS, *VALUES.values()])
    urls = [value for each in everything for value in each.values() if isinstance(value, str) and "://" in value]
    assert len(urls) > 5
    assert [url for url in urls if urlsplit(url).password] == []
    named = [each for each in everything if re.search(r"PASSWORD|_KEY$", str(each.get("name")))]
    assert len(named) > 5
    assert all(set(each["valueFrom"]) == {"secretKeyRef"} for each in named)


def test_only_a_pod_that_masks_knows_a_masking_key_and_only_maintenance_its_password() -> None:
    assert {name for name, pod in PODS.items() if "login-pipeline-masking" in str(pod)} == {"worker", "run"}
    assert {name for name, pod in PODS.items() if "login-pipeline-maintenance" in str(pod)} == {"prepare"}
    assert {name for name, pod in PODS.items() if "login-pipeline-redis" in str(pod)} == {
        "worker",
        "daemon",
        "code server",
    }
    assert "secretKeyRef" not in str(PODS["webserver"])
