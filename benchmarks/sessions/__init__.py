"""Which leaked sessions the audit finds, and whether any session stays."""
