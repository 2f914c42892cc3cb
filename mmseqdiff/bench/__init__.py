"""The exactness laboratory: how far the parts are from what closed forms say."""
