"""From the settings to the parts of the relay, one module for each part."""
