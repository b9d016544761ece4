"""Program or model -> what computes it inside a query."""
