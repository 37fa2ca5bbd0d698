"""The masks that the settings ask for, made from the key."""

from datetime import date
from functools import cached_property

from login_pipeline.masking.key_source import masking_keys
from login_pipeline.masking.keys import MaskingKey
from login_pipeline.masking.methods import Masks, aes_siv_masks, hmac_sha256_masks, sha256_masks
from login_pipeline.settings import MaskingMethod, Settings

NOT_KEYED = (
    "LOGIN_MASKING_METHOD is sha256, which has no key: any reader of the table finds an ip again in minutes; set it to "
    "hmac-sha256, or to aes-siv"
)


class Masker:
    """The masks for ip and device_id, by LOGIN_MASKING_METHOD. The key is read once, when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._masks: Masks | None = None

    @property
    def method(self) -> MaskingMethod:
        """How the masks are made."""
        return self._settings.masking_method

    @property
    def key_made_on(self) -> date | None:
        """The day on which the key was made; None where it has none, or there is no key. Raises as `masks` does."""
        return None if self.method is MaskingMethod.SHA256 else self._key.made_on

    def masks(self) -> Masks:
        """One mask a column.

        Raises:
            ConfigurationError: the masking keys are missing, cannot be read, or protect nothing.
        """
        if self._masks is None:
            if self.method is MaskingMethod.SHA256:
                self._masks = sha256_masks()
            else:
                keyed = aes_siv_masks if self.method is MaskingMethod.AES_SIV else hmac_sha256_masks
                self._masks = keyed(self._key)
        return self._masks

    @cached_property
    def _key(self) -> MaskingKey:
        return masking_keys(self._settings).active
