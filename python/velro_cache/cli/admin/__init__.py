"""Commands that talk to a running service, through the routes of ``create_admin_router``."""
