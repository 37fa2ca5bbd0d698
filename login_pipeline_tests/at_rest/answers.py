"""What the UI's GraphQL API tells of the runs, the assets, the sensor and the daemon: all of it."""

import json

from login_pipeline_tests.at_rest.places import Contents
from login_pipeline_tests.cli.test_dev import Dev

_METADATA = """metadataEntries { __typename label description
  ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr } ... on JsonMetadataEntry { jsonString }
  ... on IntMetadataEntry { intRepr } ... on FloatMetadataEntry { floatValue } ... on PathMetadataEntry { path }
}"""
_ERROR = "{ message className stack cause { message stack } errorChain { error { message stack } } }"

RUNS = "{ runsOrError { ... on Runs { results { runId status runConfigYaml tags { key value } } } } }"
EVENTS = f"""query($runId: ID!) {{ logsForRun(runId: $runId) {{ ... on EventConnection {{ events {{ __typename
  ... on MessageEvent {{ message stepKey level eventType }}
  ... on DisplayableEvent {{ label description {_METADATA} }}
  ... on ExecutionStepFailureEvent {{ error {_ERROR} failureMetadata {{ description {_METADATA} }} }}
  ... on RunFailureEvent {{ error {_ERROR} }}
  ... on AssetCheckEvaluationEvent {{ evaluation {{ checkName success description {_METADATA} }} }}
  ... on LogsCapturedEvent {{ fileKey stepKeys externalUrl }}
}} }} }} }}"""
CAPTURED = """query($logKey: [String!]!) {
  capturedLogs(logKey: $logKey) { stdout stderr }
  capturedLogsMetadata(logKey: $logKey) { stdoutLocation stderrLocation }
}"""
ASSETS = f"""{{ assetNodes {{ assetKey {{ path }} description
  {_METADATA} assetMaterializations(limit: 50) {{ message {_METADATA} }}
  assetObservations(limit: 50) {{ message {_METADATA} }}
  assetChecksOrError {{ ... on AssetChecks {{ checks {{ name
    executionForLatestMaterialization {{ evaluation {{ description {_METADATA} }} }} }} }} }}
}} }}"""
SENSOR = f"""query($selector: SensorSelector!) {{ sensorOrError(sensorSelector: $selector) {{ ... on Sensor {{
  sensorState {{ id status ticks {{ status cursor skipReason runIds error {_ERROR} logEvents {{ events {{ message }} }}
  }} }}
}} }} }}"""
DAEMON = f"""{{ instance {{ info daemonHealth {{ allDaemonStatuses {{
  daemonType healthy lastHeartbeatErrors {_ERROR}
}} }} }} }}"""
SENSOR_SELECTOR = {
    "repositoryLocationName": "login_pipeline.definitions",
    "repositoryName": "__repository__",
    "sensorName": "queue_depth_sensor",
}


def answers(dev: Dev) -> Contents:
    """Each answer, and the name of the query."""
    runs = dev.graphql(RUNS)["runsOrError"]["results"]
    yield "graphql runs", json.dumps(runs).encode()
    for run in runs:
        events = dev.graphql(EVENTS, runId=run["runId"])
        yield "graphql events", json.dumps(events).encode()
        keys = {event["fileKey"] for event in events["logsForRun"]["events"] if event.get("fileKey")}
        for key in keys | set(STEPS):
            logs = dev.graphql(CAPTURED, logKey=[run["runId"], "compute_logs", key])
            yield "graphql captured logs", json.dumps(logs).encode()
    yield "graphql assets", json.dumps(dev.graphql(ASSETS)).encode()
    yield "graphql sensor", json.dumps(dev.graphql(SENSOR, selector=SENSOR_SELECTOR)).encode()
    yield "graphql daemon", json.dumps(dev.graphql(DAEMON)).encode()


STEPS = ("raw_sqs_messages", "masked_logins", "quarantined_logins", "user_logins_table")
