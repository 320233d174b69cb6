"""The pages; each module makes those that its name says when it is loaded."""
