"""The command ``velro-cache``."""
