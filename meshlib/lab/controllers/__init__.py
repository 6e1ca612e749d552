"""Controllers: each brings what is closer to what is wanted, level-triggered, over the registry."""
