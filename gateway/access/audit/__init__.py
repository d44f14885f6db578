"""Who read or changed which customer."""
