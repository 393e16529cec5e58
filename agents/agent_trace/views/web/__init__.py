"""The web view: pages made on the server, and one stream that tells when to look again."""
