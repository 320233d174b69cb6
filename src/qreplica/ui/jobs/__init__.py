"""What can be done with replication jobs: the white paper's wizards, operation menu and dialogs."""
