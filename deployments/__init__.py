"""How it runs somewhere: schedules, servers and containers."""
