"""Whether two weeks of work, with faults and kills, leave anything behind."""
