"""Where sealed lines are kept: durable writing, locks."""
