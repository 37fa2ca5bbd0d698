"""Delivers a message to where LOGIN_ALERT_URL says: a webhook that takes JSON as Slack's do, or a topic of SNS.

The URL of a webhook is a secret: who knows it may write there. So no error, and no log, has a part of it.
"""

import json
import os
from html import escape
from http import HTTPStatus

import pycurl
from botocore.exceptions import ClientError
from botocore.httpsession import get_cert_path

from login_pipeline.aws import FAULTS, Fault, aws_client, error_code, explain_sdk_errors
from login_pipeline.errors import AlertError, ConfigurationError
from login_pipeline.settings import AlertSettings, variable

# For all of a delivery. The sensor has 60 seconds for a look, and asks its sources first, for 15.
CONNECT_SECONDS, SECONDS = 5, 10
# What SNS shows of a message in an e-mail's subject line.
SUBJECT = "login-pipeline"
_SDK = {
    "connect_timeout": CONNECT_SECONDS,
    "read_timeout": SECONDS,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}

_WHERE = variable("alert_url")
# What a CURLcode means, and what to do. Source: libcurl, libcurl-errors(3).
_CURL_ERRORS = {
    pycurl.E_COULDNT_RESOLVE_PROXY: "names a host that cannot be reached, because HTTPS_PROXY names an unknown one; "
    "correct the proxy, or name the webhook's host in NO_PROXY",
    pycurl.E_COULDNT_RESOLVE_HOST: "names a host that is not known here; correct it, or set HTTPS_PROXY",
    pycurl.E_COULDNT_CONNECT: "names a host that takes no connection; correct it, or open the way there",
    pycurl.E_OPERATION_TIMEDOUT: f"names a webhook that did not respond in {SECONDS} seconds; the message may have "
    "arrived",
    pycurl.E_SSL_CONNECT_ERROR: "names a host that does not speak TLS; correct it",
    pycurl.E_PEER_FAILED_VERIFICATION: "names a host whose certificate no authority that is trusted here signed, or "
    "that is another's; correct it, or name the authority's file in REQUESTS_CA_BUNDLE",
    pycurl.E_SSL_CACERT_BADFILE: "cannot be verified: REQUESTS_CA_BUNDLE names no file of certificates; correct it",
}


def deliver(text: str, settings: AlertSettings) -> str:
    """Delivers the message once, and returns who took it. Where it is not sure that it arrived, it did not.

    Raises:
        ConfigurationError: LOGIN_ALERT_URL is not set, or what it names cannot be used.
        AlertError: it did not arrive.
    """
    url = settings.require("alert_url")
    if url.startswith("sns:"):
        return _publish(text, url.removeprefix("sns:"))
    return _post(text, url)


def _post(text: str, url: str) -> str:
    """Follows no redirect: the message is for the host that was named, and a GET would not carry it."""
    handle = pycurl.Curl()
    try:
        handle.setopt(pycurl.URL, url)
        handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTPS | pycurl.PROTO_HTTP)
        handle.setopt(pycurl.NOSIGNAL, 1)  # libcurl's own signals would end other threads' calls
        handle.setopt(pycurl.CONNECTTIMEOUT, CONNECT_SECONDS)
        handle.setopt(pycurl.TIMEOUT, SECONDS)
        handle.setopt(pycurl.CAINFO, os.getenv("REQUESTS_CA_BUNDLE") or get_cert_path(True))
        handle.setopt(pycurl.HTTPHEADER, ["Content-Type: application/json"])
        # Slack reads &, < and > as its markup. Source: Slack, "Formatting text for app surfaces".
        handle.setopt(pycurl.POSTFIELDS, json.dumps({"text": escape(text, quote=False)}))
        handle.setopt(pycurl.WRITEFUNCTION, lambda _: None)  # what it responds is not ours to keep
        handle.perform()
        status = handle.getinfo(pycurl.RESPONSE_CODE)
    except pycurl.error as error:
        code = int(error.args[0])
        problem = _CURL_ERRORS.get(code, f"names a webhook that cannot be called (libcurl {code}); correct it")
        raise AlertError(f"{_WHERE} {problem}") from None
    finally:
        handle.close()
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise AlertError(f"{_WHERE} names a webhook that did not take the message (HTTP {status}){_advice(status)}")
    return f"the webhook took it (HTTP {status})"


def _advice(status: int) -> str:
    if status < HTTPStatus.BAD_REQUEST:
        return "; a redirect is not followed, so name the URL to which it leads"
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "; try again later"
    return "; correct the URL, or make a new webhook"


def _publish(text: str, topic: str) -> str:
    try:
        with explain_sdk_errors("SNS", f"publish to the topic in {_WHERE}"):
            client = aws_client("sns", topic.split(":")[3], **_SDK)
            client.publish(TopicArn=topic, Subject=SUBJECT, Message=text)
    except ClientError as error:
        raise _refused(error_code(error)) from None
    return "SNS took it, and sends it to who has subscribed to the topic"


def _refused(code: str) -> ConfigurationError | AlertError:
    fault = FAULTS.get(code)
    if fault is Fault.NOT_FOUND:
        return ConfigurationError(f"{_WHERE} names a topic that does not exist ({code}); create it, or correct the ARN")
    if fault is Fault.NOT_ALLOWED:
        return ConfigurationError(
            f"The AWS credentials may not publish to the topic in {_WHERE} ({code}); allow them sns:Publish on it, and "
            "kms:GenerateDataKey and kms:Decrypt on the key that encrypts it"
        )
    return AlertError(f"SNS did not take the message ({code}); try again later")
