"""The masks that the settings ask for, made from the key when a run starts."""

from functools import cached_property

import dagster as dg

from login_pipeline.masking.key_source import masking_keys
from login_pipeline.masking.methods import MaskingMethod, Masks, aes_siv_masks, hmac_sha256_masks, sha256_masks
from login_pipeline.settings import read_settings

NOT_KEYED = (
    "LOGIN_MASKING_METHOD is sha256, which has no key: whoever reads the table finds an ip again in minutes; set it to "
    "hmac-sha256, or to aes-siv"
)


class MaskingResource(dg.ConfigurableResource[object]):
    """The masks for ip and device_id, by LOGIN_MASKING_METHOD.

    The key is read once, when a run starts, and never from run config, where the UI would show it.
    """

    def masks(self) -> Masks:
        """One mask a column.

        Raises:
            ConfigurationError: the masking keys are missing, cannot be read, or protect nothing.
        """
        return self._masks

    @cached_property
    def _masks(self) -> Masks:
        method = self.method
        if method is MaskingMethod.SHA256:
            return sha256_masks()
        key = masking_keys().active
        return aes_siv_masks(key) if method is MaskingMethod.AES_SIV else hmac_sha256_masks(key)

    @property
    def method(self) -> MaskingMethod:
        """How they mask."""
        return read_settings().masking_method
