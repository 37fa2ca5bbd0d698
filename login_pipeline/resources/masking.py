"""The masks that the settings ask for, made from the key when a run starts."""

import dagster as dg

from login_pipeline.errors import ConfigurationError
from login_pipeline.masking import Masks, WeakKeyError, decode_key, hmac_sha256_masks, sha256_masks
from login_pipeline.settings import MaskingMethod, example, read_settings, variable


class MaskingResource(dg.ConfigurableResource[object]):
    """The masks for ip and device_id, by LOGIN_MASKING_METHOD.

    The key is read from the environment, never from run config, where the UI would show it.
    """

    def masks(self) -> Masks:
        """One mask a column.

        Raises:
            ConfigurationError: LOGIN_MASKING_KEY is missing or weak.
        """
        settings = read_settings()
        if settings.masking_method is MaskingMethod.SHA256:
            return sha256_masks()
        name = "masking_key"
        try:
            return hmac_sha256_masks(decode_key(settings.require(name)))
        except WeakKeyError as problem:
            raise ConfigurationError(f"{variable(name)} {problem}; set it to {example(name)}") from None
