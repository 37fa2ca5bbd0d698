"""Where the masking keys are: in the environment, or where LOGIN_MASKING_KEY_SOURCE says."""

from login_pipeline.errors import ConfigurationError
from login_pipeline.masking.keys import KeyRing, WeakKeyError, read_key_ring
from login_pipeline.secret_source import read_secret
from login_pipeline.settings import Settings, example, variable


def masking_keys(settings: Settings) -> KeyRing:
    """The masking keys that the settings name; the first masks.

    Raises:
        ConfigurationError: there is none, it cannot be read, or it is one that protects nothing.
    """
    source, where, remedy = settings.masking_key_source, variable("masking_key"), "set it to"
    if source is None:
        text = settings.require("masking_key")
    elif settings.masking_key is not None:
        raise ConfigurationError(
            f"{variable('masking_key')} and {variable('masking_key_source')} are both set; unset one, so that it is "
            "plain which keys mask"
        )
    else:
        where, remedy = f"{variable('masking_key_source')}={source}", "put into it"
        text = read_secret(settings, "masking_key_source")
    try:
        return read_key_ring(text)
    except WeakKeyError as problem:
        raise ConfigurationError(f"{where} {problem}; {remedy} {example('masking_key')}") from None
