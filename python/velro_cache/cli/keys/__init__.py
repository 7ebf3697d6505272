"""``velro-cache keys``: API keys in a database."""
