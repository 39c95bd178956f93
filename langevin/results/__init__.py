"""Results of finished runs are opened, understood and summed up here."""
