from smtprelay_postbox import POSTBOX

from smtprelay.providers.plugin import ProviderPlugin

postbox = ProviderPlugin(POSTBOX)
