"""The programs of the lab that image repositories map to."""
