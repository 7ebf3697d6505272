"""A small but complete service: users, teams, projects and generations behind cached checks."""
