"""The sync of many accounts beside other ways to do the job."""
