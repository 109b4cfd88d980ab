"""How others may check service accounts' tokens: the OpenID documents.

(pkg/serviceaccount/openidmetadata.go, pkg/routes/openidmetadata.go)
"""

from __future__ import annotations

import orjson
from fastapi import FastAPI, Response

from kube.apiserver.tokens import Tokens

CONFIGURATION, KEY_SET = "/.well-known/openid-configuration", "/openid/v1/jwks"


def add_pages(app: FastAPI, tokens: Tokens, address: str) -> None:
    """Add the two documents. `address`: `host:port` by which others reach the secure port."""

    @app.get(CONFIGURATION, include_in_schema=False)
    async def configuration() -> Response:
        _, verifier = await tokens.load()
        document = {
            "issuer": tokens.issuer,
            "jwks_uri": f"https://{address}{KEY_SET}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": verifier.algorithms,
        }
        return Response(orjson.dumps(document), media_type="application/json")

    @app.get(KEY_SET, include_in_schema=False)
    async def key_set() -> Response:
        _, verifier = await tokens.load()
        return Response(orjson.dumps(verifier.key_set()), media_type="application/jwk-set+json")
