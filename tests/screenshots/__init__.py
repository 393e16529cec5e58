"""Pictures of the web view for the documents."""
