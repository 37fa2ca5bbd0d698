"""The CloudFormation templates in deploy/aws: against deploy/iam, against docker-compose.yml, and in ministack.

ministack makes what it knows of the templates, and ignores much of it: of a queue its redrive policy, its redrive-allow
policy and its key; of a task its secrets; and what is to outlive its stack. It has neither ElastiCache nor Application
Auto Scaling, and of CloudWatch neither metric filters nor metric math. Here the redrive policies are set on its queues
from the template; `make lint-templates` holds all of both files against AWS's schemas.
"""

import json
import operator
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
import yaml

from login_pipeline.cli.runs import run
from login_pipeline.defs.jobs import user_logins_expiry_schedule
from login_pipeline.local.ports import wait_until
from login_pipeline.local.services import temporary_folder
from login_pipeline.local.sqs import REGION, LocalSqs
from login_pipeline.settings import MAX_IN_FLIGHT, Settings
from login_pipeline.sqs.login_queues import MIN_DELIVERIES
from login_pipeline_tests import ROOT
from login_pipeline_tests.conftest import MASKING_KEY, Command, Database, Pipeline, Queue
from login_pipeline_tests.deploy.test_compose import COMPOSE, SERVICES, environment
from login_pipeline_tests.deploy.test_iam_policies import IAM, POLICIES

Document = dict[str, Any]

# What ministack cannot make.
UNKNOWN_TO_MINISTACK = {
    "AWS::ApplicationAutoScaling::ScalableTarget",
    "AWS::ApplicationAutoScaling::ScalingPolicy",
    "AWS::ElastiCache::ParameterGroup",
    "AWS::ElastiCache::ReplicationGroup",
    "AWS::ElastiCache::SubnetGroup",
    "AWS::Logs::MetricFilter",
    "AWS::RDS::DBClusterParameterGroup",
    "AWS::RDS::DBSubnetGroup",
    "AWS::Scheduler::Schedule",
}
# The task of each service.
TASKS = {
    "dagster-webserver": "WebserverTask",
    "dagster-daemon": "DaemonTask",
    "worker": "WorkerTask",
    "maintenance": "MaintenanceTask",
}
# For LocalStack; on AWS a task has its role. The masking key is read from Secrets Manager, not from the environment.
# ECS puts the passwords into PGPASSWORD, as Dagster's storage needs them, too.
NOT_ON_AWS = {
    "AWS_ACCESS_KEY_ID",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LOGIN_DATABASE_PASSWORD_SOURCE",
    "LOGIN_MAINTENANCE_DATABASE_PASSWORD_SOURCE",
    "LOGIN_MASKING_KEY",
}


def _function(loader: Any, tag: str, node: Any) -> Document:
    """The long form of what a template writes with a tag."""
    value = {
        yaml.ScalarNode: loader.construct_scalar,
        yaml.SequenceNode: lambda node: loader.construct_sequence(node, deep=True),
    }[type(node)](node)
    if tag == "GetAtt":
        value = value.split(".", 1)
    return {tag if tag in {"Ref", "Condition"} else f"Fn::{tag}": value}


_Loader: Any = type("_Loader", (yaml.SafeLoader,), {})
_Loader.add_multi_constructor("!", _function)


def template(name: str) -> Document:
    return dict(yaml.load((ROOT / "deploy" / "aws" / name).read_text(encoding="utf-8"), _Loader))  # noqa: S506 - safe


QUEUES, SERVICE = template("queues.yaml"), template("service.yaml")


def properties(of: Document, resource: str) -> Document:
    return dict(of["Resources"][resource]["Properties"])


def container(service: str) -> Document:
    (container,) = properties(SERVICE, TASKS[service])["ContainerDefinitions"]
    return dict(container)


# --- rights ---


def test_each_policy_of_deploy_iam_is_in_the_template_as_it_is() -> None:
    named = {"".join(map(str.capitalize, Path(file).stem.split("-"))): file for file in POLICIES}
    templates = {
        name: template
        for template in (QUEUES, SERVICE)
        for name, each in template["Resources"].items()
        if each["Type"].endswith("ManagedPolicy")
    }
    assert set(templates) - set(named) == {"BackupPolicy"}  # docs/recovery.md has it
    for name, file in named.items():
        expected = json.loads((IAM / file).read_text(encoding="utf-8"))
        # A key is in one store; the template has Secrets Manager.
        expected["Statement"] = [each for each in expected["Statement"] if not each["Sid"].endswith("Instead")]
        assert with_placeholders(properties(templates[name], name)["PolicyDocument"]) == expected, file


def with_placeholders(policy: Any) -> Any:
    """A policy of the template with the names that deploy/iam has in place of resources."""
    arn = "arn:aws:{}:YOUR-REGION:YOUR-ACCOUNT-ID:{}"
    resources = {
        '{"Fn::GetAtt": ["LoginQueue", "Arn"]}': arn.format("sqs", "YOUR-LOGIN-QUEUE"),
        '{"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}': arn.format("sqs", "YOUR-DEAD-LETTER-QUEUE"),
        '{"Fn::GetAtt": ["Key", "Arn"]}': arn.format("kms", "key/YOUR-KMS-KEY-ID"),
        '{"Ref": "AlarmTopicArn"}': arn.format("sns", "YOUR-ALERT-TOPIC"),
        '{"Ref": "MaskingKey"}': arn.format("secretsmanager", "secret:YOUR-MASKING-KEY-SECRET-AND-ITS-SUFFIX"),
    }
    text = re.sub(r'{"Fn::Sub": ("[^"]*")}', r"\1", json.dumps(policy)).replace("${AWS::Region}", "YOUR-REGION")
    for function, name in resources.items():
        text = text.replace(function, f'"{name}"')
    return json.loads(text)


@pytest.mark.parametrize(
    ("role", "policies"),
    [
        ("WebserverRole", set()),
        ("DaemonRole", {"SensorPolicy"}),
        ("WorkerRole", {"ConsumerPolicy", "QueueKeyPolicy", "MaskingKeyPolicy"}),
        ("MaintenanceRole", {"RedrivePolicy", "QueueKeyPolicy", "MaskingKeyPolicy"}),
    ],
)
def test_task_has_the_rights_that_it_needs_and_no_other(role: str, policies: set[str]) -> None:
    imported = {f"${{QueuesStack}}-{policy}Arn" for policy in policies}
    granted = properties(SERVICE, role).get("ManagedPolicyArns", [])
    assert {each["Fn::ImportValue"]["Fn::Sub"] for each in granted} == imported
    assert "Policies" not in properties(SERVICE, role)


def test_maintenance_runs_every_night_before_the_backup_and_the_schedule_may_do_no_more() -> None:
    schedule = properties(SERVICE, "MaintenanceSchedule")
    minute, hour, *days = schedule["ScheduleExpression"].removeprefix("cron(").split()
    assert days == ["*", "*", "?", "*)"]
    assert f"{minute} {hour} * * *" == user_logins_expiry_schedule.cron_schedule
    target = schedule["Target"]
    assert target["Arn"] == {"Fn::GetAtt": ["Cluster", "Arn"]}
    assert target["RoleArn"] == {"Fn::GetAtt": ["MaintenanceSchedulerRole", "Arn"]}
    (override,) = json.loads(target["Input"])["containerOverrides"]
    assert override["name"] == container("maintenance")["Name"]
    assert {each["name"]: each["value"] for each in override["environment"]} == {"LOGIN_BACKUP_URL": ""}
    task = target["EcsParameters"]
    assert task["TaskDefinitionArn"] == {"Ref": "MaintenanceTask"}
    service = properties(SERVICE, "Worker")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert task["NetworkConfiguration"]["AwsvpcConfiguration"] == service
    role = properties(SERVICE, "MaintenanceSchedulerRole")
    assert set(role) == {"AssumeRolePolicyDocument", "Policies"}
    (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trusted["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    (policy,) = role["Policies"]
    run, passes = policy["PolicyDocument"]["Statement"]
    assert (run["Action"], run["Resource"]) == ("ecs:RunTask", {"Ref": "MaintenanceTask"})
    definition = properties(SERVICE, "MaintenanceTask")
    assert passes["Action"] == "iam:PassRole"
    assert passes["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    assert passes["Resource"] == [definition["ExecutionRoleArn"], definition["TaskRoleArn"]]


def test_only_what_alerts_may_publish_and_only_where_there_is_a_topic() -> None:
    policy = SERVICE["Resources"]["AlertPolicy"]
    assert policy["Condition"] == "HasAlarmTopic"
    assert policy["Properties"]["Roles"] == [{"Ref": "DaemonRole"}, {"Ref": "MaintenanceRole"}]


def test_each_task_has_its_own_secrets_only_and_they_can_be_read_when_it_starts() -> None:
    secrets = {each: {one["Name"]: one["ValueFrom"]["Ref"] for one in container(each)["Secrets"]} for each in TASKS}
    assert secrets == {
        "dagster-webserver": {"PGPASSWORD": "UiPassword"},
        "dagster-daemon": {"PGPASSWORD": "RunPassword", "LOGIN_REDIS_URL": "RedisUrl"},
        "worker": {"PGPASSWORD": "RunPassword", "LOGIN_REDIS_URL": "RedisUrl"},
        "maintenance": {"PGPASSWORD": "MaintenancePassword"},
    }
    (policy,) = properties(SERVICE, "ExecutionRole")["Policies"]
    (statement,) = policy["PolicyDocument"]["Statement"]
    used = {name for of_task in secrets.values() for name in of_task.values()}
    assert {resource["Ref"] for resource in statement["Resource"]} == used


# --- as docker-compose.yml has it ---


@pytest.mark.parametrize("service", TASKS)
def test_task_has_the_environment_of_the_service_in_the_compose_file(service: str) -> None:
    names = [each["Name"] for each in (*container(service)["Environment"], *container(service)["Secrets"])]
    assert len(names) == len(set(names))
    alerts = {"LOGIN_ALERT_URL"} if service == "worker" else set()  # the daemon does
    assert set(names) == set(environment(service)) - NOT_ON_AWS - alerts


@pytest.mark.parametrize("service", sorted(set(TASKS) - {"maintenance"}))
def test_task_runs_the_command_of_the_service_in_the_compose_file(service: str) -> None:
    command = [word for word in container(service)["Command"] if isinstance(word, str)]
    assert command == SERVICES[service]["command"]


def test_settings_have_the_defaults_of_the_pipeline() -> None:
    parameters = {
        each["Name"]: each["Value"].get("Ref") for each in container("worker")["Environment"] if "Ref" in each["Value"]
    }
    defaults = {
        name: SERVICE["Parameters"][parameter]["Default"]
        for name, parameter in parameters.items()
        if parameter in SERVICE["Parameters"]
    }
    assert len(defaults) > 8
    assert defaults.pop("LOGIN_SENSOR_ENABLED") == "true"  # here as in docker-compose.yml it is what drains
    assert defaults.pop("LOGIN_RETENTION_DAYS") == ""  # counts as not set
    assert defaults == {name: Settings.model_fields[name.removeprefix("LOGIN_").lower()].default for name in defaults}


def test_the_log_of_aurora_quotes_no_row() -> None:
    parameters = properties(SERVICE, "AuroraParameters")["Parameters"]
    options = [option.split("=") for option in SERVICES["postgres"]["command"] if option.startswith("log_")]
    assert len(options) == 2
    assert all(parameters[name] == value for name, value in options)
    assert parameters["rds.force_ssl"] == "1"


def test_a_worker_has_the_time_to_end_its_run_that_the_compose_file_gives_it() -> None:
    assert f"{container('worker')['StopTimeout']}s" == COMPOSE["services"]["worker"]["stop_grace_period"]


# --- what only the template has ---


def test_workers_are_scaled_to_a_batch_each_and_no_further_than_runs_are_launched() -> None:
    settings = {each["Name"]: each["Value"] for each in container("worker")["Environment"]}
    assert properties(SERVICE, "WorkerCount")["MaxCapacity"] == settings["LOGIN_MAX_CONCURRENT_RUNS"]
    tracking = properties(SERVICE, "WorkersFollowTheBacklog")["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == settings["LOGIN_BATCH_SIZE"]
    *metrics, backlog = tracking["CustomizedMetricSpecification"]["Metrics"]
    assert [each["MetricStat"]["Metric"]["MetricName"] for each in metrics] == [
        "ApproximateNumberOfMessagesVisible",
        "ApproximateNumberOfMessagesNotVisible",
        "RunningTaskCount",
    ]
    assert [each["ReturnData"] for each in (*metrics, backlog)] == [False, False, False, True]
    depth = {metrics[0]["Id"]: 70_000, metrics[1]["Id"]: 30_000, metrics[2]["Id"]: 4}
    assert eval(backlog["Expression"], {}, depth) == 25_000  # noqa: S307 - ours, in CloudWatch's syntax and Python's


def test_alarm_comes_before_sqs_delivers_nothing_more() -> None:
    alarm = properties(QUEUES, "MessagesInFlight")
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesNotVisible"
    assert alarm["Threshold"] == 0.9 * MAX_IN_FLIGHT


# --- alarms, as deploy/prometheus/alerts.yml has them ---

ALERTS = {
    rule["alert"]: rule
    for rule in yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))["groups"][0][
        "rules"
    ]
}
COMPARISONS = {
    "GreaterThanThreshold": (">", operator.gt),
    "GreaterThanOrEqualToThreshold": (">=", operator.ge),
    "LessThanThreshold": ("<", operator.lt),
}


def of_type(kind: str, *templates: Document) -> Document:
    """The properties of each resource of this kind."""
    resources = {name: each for template in templates for name, each in template["Resources"].items()}
    return {name: each["Properties"] for name, each in resources.items() if each["Type"] == kind}


ALARMS = of_type("AWS::CloudWatch::Alarm", QUEUES, SERVICE)
FILTERS = of_type("AWS::Logs::MetricFilter", SERVICE)


def test_each_alert_has_an_alarm_and_the_document_names_it() -> None:
    document = (ROOT / "docs/metrics.md").read_text(encoding="utf-8").split("\n## On AWS\n")[1]
    rows = [row.split("|")[1:3] for row in document.splitlines() if row.startswith("| `")]
    assert {name for alarms, _ in rows for name in re.findall(r"`(\w+)`", alarms)} == set(ALARMS)
    assert {name for row in rows for name in re.findall(r"`(Login\w+)`", "".join(row))} == set(ALERTS)


def test_each_alarm_says_when_it_begins_and_when_it_is_over() -> None:
    to_the_topic = {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
    for name, alarm in ALARMS.items():
        assert alarm["AlarmActions"] == alarm["OKActions"] == to_the_topic, name


def test_alarms_have_the_thresholds_of_the_alerts() -> None:
    bounds = {
        name: found.groups()
        for name in set(ALERTS) & set(ALARMS)
        if (found := re.search(r"(>=?) (?:on\(instance\) )?([\d.e]+)", ALERTS[name]["expr"].partition(" unless ")[0]))
    }
    assert set(ALERTS) & set(ALARMS) - set(bounds) == {
        "LoginMetricsMissing",
        "LoginSourceUnreadable",
        "LoginCheckFailed",
        "LoginJobFails",
    }
    for name, (sign, threshold) in bounds.items():
        alarm = ALARMS[name]
        assert (COMPARISONS[alarm["ComparisonOperator"]][0], alarm["Threshold"]) == (sign, float(threshold)), name
    for name in ("LoginMetricsMissing", "LoginSourceUnreadable", "LoginRunsWait"):
        periods = ALARMS[name].get("DatapointsToAlarm", ALARMS[name]["EvaluationPeriods"])
        assert f"{periods * ALARMS[name]['Period'] // 60}m" == ALERTS[name]["for"]
    assert f"> {QUEUES['Parameters']['MaxAgeSeconds']['Default']}" in ALERTS["LoginsLate"]["expr"]


def test_alarms_are_about_what_the_sensor_logs(
    pipeline: Pipeline,
    dagsters: Database,
    recorded: dg.DagsterInstance,
    body: Callable[..., str],
    tmp_path: Path,
) -> None:
    """Real faults, and their end, in lines of real looks; but for a slow run and 10 GB, for which a line is changed."""
    today = datetime.now(UTC).date()
    url = pipeline.environment["LOGIN_DATABASE_URL"]
    pipeline.set(LOGIN_MASKING_KEY=f"{today - timedelta(days=400)}:{MASKING_KEY}", LOGIN_BACKUP_URL=str(tmp_path / "b"))
    pipeline.queue.send(body(), body())
    assert run("login_job", recorded).passed
    dagsters.query("UPDATE runs SET create_timestamp = create_timestamp - interval '37 hours'")
    pipeline.database.query("CREATE TABLE kept AS SELECT * FROM user_logins LIMIT 1; DELETE FROM user_logins")
    pipeline.database.query("INSERT INTO user_logins SELECT * FROM kept")
    assert not run("user_logins_checks_job", recorded).passed
    pipeline.set(LOGIN_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert not any(run(job, recorded).passed for job in (*["login_job"] * 3, "inbox_pruning_job"))
    assert fired(look(pipeline)) == {
        "LoginSourceUnreadable",
        "LoginRunsFail",
        "LoginJobFails",
        "LoginCheckFailed",
        "LoginBackupOverdue",
        "LoginMaskingKeyOld",
        "LoginRowsBelowK",
    }

    pipeline.set(LOGIN_DATABASE_URL=url, LOGIN_MASKING_KEY=f"{today}:{MASKING_KEY}", LOGIN_MIN_GROUP_SIZE="1")
    pipeline.database.query("INSERT INTO user_logins SELECT * FROM kept")
    pipeline.queue.send(body())
    for job in ("login_job", "user_logins_checks_job", "user_logins_backup_job", "inbox_pruning_job"):
        assert run(job, recorded).passed
    well = look(pipeline)
    assert fired(well) == set()
    assert set(metrics(well)) == {transformation(each)["MetricName"] for each in FILTERS.values()} - {
        "unreadable_sources",
        "failed_checks",
        "failed_jobs",
        "runs_that_wait",
    }
    assert f"{len(FILTERS)} custom metrics" in (ROOT / "docs/aws.md").read_text(encoding="utf-8")
    for figure in ("source_up", "check_passed", "job_failed"):
        (named,) = filter(None, (re.findall(rf"{figure}\.(\w+)", each["FilterPattern"]) for each in FILTERS.values()))
        assert set(named) == set(well[figure])

    assert fired({**well, "runs": {"waiting": 1, "at_work": 0}}) == {"LoginRunsWait"}
    assert fired({**well, "runs": {"waiting": 1, "at_work": 1}}) == set()
    assert fired({**well, "recent_longest_run_seconds": 0.81 * well["run_limit_seconds"]}) == {"LoginRunsSlow"}
    assert fired({**well, "dagster_database_bytes": 10**10 + 1}) == {"LoginDagsterDatabaseLarge"}
    assert fired({"event": "drained", "rows": 1}) == {"LoginMetricsMissing"}


def look(pipeline: Pipeline) -> Document:
    """What the sensor's code server logs at one look, as in the daemon's container."""
    dagster = [str(Path(sys.executable).with_name("dagster")), "sensor", "preview", "health_sensor"]
    env = {**os.environ, **pipeline.environment, "LOGIN_LOG_FORMAT": "json"}
    ended = subprocess.run(
        [*dagster, "--module-name", "login_pipeline.definitions"], env=env, capture_output=True, text=True, check=True
    )
    assert "LOGIN_ALERT_URL is not set" in ended.stdout
    (line,) = (line for line in ended.stderr.splitlines() if '"event": "health"' in line)
    return dict(json.loads(line))


def transformation(of: Document) -> Document:
    (only,) = of["MetricTransformations"]
    assert "DefaultValue" not in only
    return dict(only)


def at(line: Any, selector: str) -> Any:
    for name in selector.removeprefix("$.").split("."):
        line = (line or {}).get(name)
    return line


def metrics(line: Document) -> dict[str, float]:
    """What the metric filters make of a line."""

    def holds(term: re.Match[str]) -> str:
        value = at(line, term[1])
        if term[3] == "*" or value is None:
            return str(value is not None)
        return str({"=": operator.eq, ">": operator.gt}[term[2]](value, json.loads(term[3])))

    made = {}
    for each in FILTERS.values():
        terms = re.sub(r'(\$[\w.]+) ([=>]) ("\w+"|\d+|\*)', holds, each["FilterPattern"].strip("{ }"))
        assert set(re.findall(r"\w+", terms)) <= {"True", "False"}
        if eval(terms.replace("&&", "and").replace("||", "or")):  # noqa: S307 - of the words just seen
            value = transformation(each)["MetricValue"]
            made[transformation(each)["MetricName"]] = float(at(line, value) if value.startswith("$") else value)
    return made


def fired(line: Document) -> set[str]:
    """The alarms on metrics of the log that are on where each look logs this line."""
    known = metrics(line)
    on = set()
    for name, alarm in of_type("AWS::CloudWatch::Alarm", SERVICE).items():
        *inputs, last = alarm.get("Metrics", [alarm])
        stats = {each["Id"]: each["MetricStat"]["Metric"] for each in inputs} or {"value": alarm}
        if any(each["Namespace"] != {"Ref": "AWS::StackName"} for each in stats.values()):
            continue
        values = {key: known.get(each["MetricName"]) for key, each in stats.items()}
        if None in values.values():
            breaches = alarm["TreatMissingData"] == "breaching"
        else:
            text = last.get("Expression", "value")
            text = text["Fn::Sub"].replace("${VisibilityTimeout}", "900") if isinstance(text, dict) else text
            value = eval(text, {"EPOCH": lambda _: datetime.now(UTC).timestamp()}, values)  # noqa: S307 - ours
            breaches = COMPARISONS[alarm["ComparisonOperator"]][1](value, alarm["Threshold"])
        on |= {name} if breaches else set()
    return on


def test_nobody_sees_the_ui_without_a_login_and_by_default_nobody_changes_anything_in_it() -> None:
    first, *_ = properties(SERVICE, "UiListener")["DefaultActions"]
    assert (first["Type"], first["AuthenticateOidcConfig"]["OnUnauthenticatedRequest"]) == (
        "authenticate-oidc",
        "authenticate",
    )
    sources = properties(SERVICE, "WebserverGroup")["SecurityGroupIngress"]["Fn::If"][1]
    assert [each["SourceSecurityGroupId"]["Ref"] for each in sources] == ["LoadBalancerGroup"]
    assert SERVICE["Parameters"]["UiReadOnly"]["Default"] == "true"
    assert container("dagster-webserver")["Command"][-1]["Fn::If"][:2] == ["IsReadOnly", "--read-only"]


# --- in ministack ---


class Stacks:
    """A server that makes stacks."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._cloudformation = self.client("cloudformation")

    def client(self, service: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - ministack asks for none
        )

    def create(self, name: str, body: Document, **parameters: str) -> dict[str, str]:
        """The outputs of the stack."""
        self._cloudformation.create_stack(
            StackName=name,
            TemplateBody=json.dumps(body),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        stack = self._ended(name)
        assert stack["StackStatus"] == "CREATE_COMPLETE", self._cloudformation.describe_stack_events(StackName=name)
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def delete(self, name: str) -> None:
        identity = self._cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
        self._cloudformation.delete_stack(StackName=name)
        assert self._ended(identity)["StackStatus"] == "DELETE_COMPLETE"

    def _ended(self, name: str) -> Document:
        stack: Document = {}

        def ended() -> bool:
            stack.update(self._cloudformation.describe_stacks(StackName=name)["Stacks"][0])
            return not stack["StackStatus"].endswith("_IN_PROGRESS")

        assert wait_until(ended, seconds=30)
        return stack

    def left(self) -> dict[str, list[Any]]:
        """What costs money or gives rights, by kind."""
        return {
            "queues": self.client("sqs").list_queues().get("QueueUrls", []),
            "secrets": self.client("secretsmanager").list_secrets()["SecretList"],
            "roles": self.client("iam").list_roles()["Roles"],
            "policies": self.client("iam").list_policies(Scope="Local")["Policies"],
            "logs": self.client("logs").describe_log_groups()["logGroups"],
            "alarms": self.client("cloudwatch").describe_alarms()["MetricAlarms"],
            "clusters": self.client("ecs").list_clusters()["clusterArns"],
            "databases": self.client("rds").describe_db_instances()["DBInstances"],
            "load balancers": self.client("elbv2").describe_load_balancers()["LoadBalancers"],
        }


@pytest.fixture
def stacks() -> Iterator[Stacks]:
    services = "sqs,cloudformation,iam,kms,secretsmanager,monitoring,logs,ecs,ec2,elasticloadbalancing,rds"
    with temporary_folder() as folder:
        server = LocalSqs(folder / "aws", services=services)
        try:
            yield Stacks(server.endpoint)
        finally:
            server.stop()


def test_stacks_are_made_and_a_worker_drains_their_queue_and_they_are_deleted(
    stacks: Stacks, pipeline: Pipeline, command: Command, body: Callable[..., str], tmp_path: Path
) -> None:
    before = stacks.left()
    queues = stacks.create("login-queues", QUEUES)
    known = {
        name: each
        for name, each in SERVICE["Resources"].items()
        if each["Type"] not in UNKNOWN_TO_MINISTACK and "Metrics" not in each.get("Properties", {})
    }
    network = {"Vpc": "vpc-1", "Subnets": "subnet-1,subnet-2", "LoadBalancerSubnets": "subnet-1,subnet-2"}
    topic = {"AlarmTopicArn": "arn:aws:sns:us-east-1:000000000000:alarms"}
    identity = {"OidcIssuer": "https://login.example.com", "CertificateArn": "arn:aws:acm:::certificate/1"}
    service = {**SERVICE, "Resources": known}
    made = stacks.create("logins", service, Image="login-pipeline", Start="true", **network, **identity, **topic)
    assert {kind: len(each) for kind, each in stacks.left().items() if each != before[kind]} == {
        "queues": 2,
        "secrets": 6,
        "roles": 6,
        "policies": len(POLICIES),
        "logs": 4,
        "alarms": 13,
        "clusters": 1,
        "databases": 2,
        "load balancers": 1,
    }

    for password in ("RunPassword", "UiPassword", "MaintenancePassword"):
        secret = stacks.client("secretsmanager").get_secret_value(SecretId=made[password])
        assert re.fullmatch("[0-9a-f]{64}", secret["SecretString"])

    login, dead_letters = (Queue(stacks.client("sqs"), queues[f"{name}QueueUrl"]) for name in ("Login", "DeadLetter"))
    set_redrive(login, dead_letters)
    task = stacks.client("ecs").describe_task_definition(taskDefinition="logins-worker")["taskDefinition"]
    settings = {each["name"]: each["value"] for each in task["containerDefinitions"][0]["environment"]}
    databases = {name: value for name, value in settings.items() if "DATABASE" in name}
    pipeline.set(**{name: value for name, value in settings.items() if name not in databases})
    assert all(":5432/" in url and "sslmode=require" in url for url in databases.values())
    pipeline.set(LOGIN_MASKING_KEY=None, AWS_ENDPOINT_URL=stacks.endpoint, AWS_ENDPOINT_URL_SQS=stacks.endpoint)

    file = tmp_path / "messages"
    file.write_text("\n".join([body(), body(), "not a login"]))
    assert command("send", str(file))[0] == 0
    code, stdout, _ = command("drain", "--json")
    assert (code, json.loads(stdout)["loaded"], json.loads(stdout)["quarantined"]) == (0, 2, 1)
    assert command("check")[0] == 0
    assert len(pipeline.database.logins()) == 2
    assert (login.count(), dead_letters.count()) == (0, 1)

    stacks.delete("logins")
    stacks.delete("login-queues")
    assert stacks.left() == before


def test_redrive_policy_keeps_what_cut_off_runs_held_and_takes_what_no_run_survives(stacks: Stacks) -> None:
    queues = stacks.create("login-queues", QUEUES)
    login, dead_letters = (Queue(stacks.client("sqs"), queues[f"{name}QueueUrl"]) for name in ("Login", "DeadLetter"))
    policy, allowed = set_redrive(login, dead_letters)
    assert policy["deadLetterTargetArn"] == arn(dead_letters)
    assert allowed == {"redrivePermission": "byQueue", "sourceQueueArns": [arn(login)]}
    deliveries = policy["maxReceiveCount"]
    assert deliveries >= MIN_DELIVERIES
    login.send("no run survives this")
    for _ in range(deliveries):
        assert login.client.receive_message(QueueUrl=login.url, VisibilityTimeout=0)["Messages"]
    assert login.client.receive_message(QueueUrl=login.url, VisibilityTimeout=0).get("Messages", []) == []
    assert (login.count(), dead_letters.count()) == (0, 1)


def set_redrive(login: Queue, dead_letters: Queue) -> tuple[Document, Document]:
    """Sets what ministack ignores, the template's redrive policy and redrive-allow policy; returns them."""
    names = {"LoginQueue": login, "DeadLetterQueue": dead_letters}
    variables = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": "000000000000"}
    variables["LoginQueueName"] = QUEUES["Parameters"]["LoginQueueName"]["Default"]

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "Fn::GetAtt" in value:
            assert value["Fn::GetAtt"][1] == "Arn"
            return arn(names[value["Fn::GetAtt"][0]])
        if "Fn::Sub" in value:
            return re.sub(r"\${([\w:]+)}", lambda at: variables[at[1]], value["Fn::Sub"])
        return {key: resolved(each) for key, each in value.items()}

    policy = resolved(properties(QUEUES, "LoginQueue")["RedrivePolicy"])
    allowed = resolved(properties(QUEUES, "DeadLetterQueue")["RedriveAllowPolicy"])
    login.client.set_queue_attributes(QueueUrl=login.url, Attributes={"RedrivePolicy": json.dumps(policy)})
    dead_letters.client.set_queue_attributes(
        QueueUrl=dead_letters.url, Attributes={"RedriveAllowPolicy": json.dumps(allowed)}
    )
    return policy, allowed


def arn(queue: Queue) -> str:
    attributes = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["QueueArn"])["Attributes"]
    return attributes["QueueArn"]


def test_what_the_messages_need_outlives_the_stack() -> None:
    for name in ("Key", "MaskingKey", "LoginQueue", "DeadLetterQueue"):
        assert QUEUES["Resources"][name]["DeletionPolicy"] == "RetainExceptOnCreate"
        assert QUEUES["Resources"][name]["UpdateReplacePolicy"] == "Retain"
    for name in ("LoginQueue", "DeadLetterQueue"):
        assert properties(QUEUES, name)["KmsMasterKeyId"] == {"Fn::GetAtt": ["Key", "Arn"]}
    assert properties(QUEUES, "MaskingKey")["KmsKeyId"] == {"Fn::GetAtt": ["Key", "Arn"]}
