"""`langevin ensemble`: members of ensembles from stored runs, and what the ensembles are worth."""
