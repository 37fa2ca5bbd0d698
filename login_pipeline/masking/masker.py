"""The masks that the settings ask for, made from the key."""

from login_pipeline.masking.key_source import masking_keys
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
                self._masks = keyed(masking_keys(self._settings).active)
        return self._masks
