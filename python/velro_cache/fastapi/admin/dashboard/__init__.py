"""The page on which operators watch a cache.

``pages.py`` serves what lies in ``assets/``: a page that asks the admin routes once a second. None
of its files holds data, so none of them changes while a service runs.
"""

__all__: list[str] = []
