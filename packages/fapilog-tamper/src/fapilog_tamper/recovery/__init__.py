"""What a writer does with what it finds on open: survey the files, plan, apply the plan."""
