"""Parameter sets of the tracker `msdeaot`. For one of your own, add a module beside these and start from `default`."""
