"""A small gateway: API keys and rate limits before services that know nothing of either."""
