"""Who is asking and who may do what, together: what the secure port asks, and what reviews answer from."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from kube.api import errors
from kube.api.resources import Resource
from kube.apiserver.authentication import Authentication, TokenAuthenticator, token_file
from kube.apiserver.authorization import AlwaysAllow, AlwaysDeny, Authorizer, Union
from kube.apiserver.options import Options
from kube.apiserver.rbac import Rbac
from kube.apiserver.registry.rbac import RbacStrategy
from kube.apiserver.request import Request, Response
from kube.apiserver.tokens import TokenOptions, Tokens
from kube.apiserver.verbs import Verbs

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Access:
    """An apiserver's access control. As it is made by default: nobody is known, and everything is allowed."""

    authentication: Authentication = field(default_factory=Authentication)
    authorizer: Authorizer = field(default_factory=lambda: Union([AlwaysAllow()]))
    tokens: Tokens | None = None

    @classmethod
    def of(cls, options: Options, verbs: Verbs) -> Access:
        """What the flags say. Raises Fatal."""
        tokens = Tokens(_token_options(options), verbs)
        tokens.have_key()
        ways: list[TokenAuthenticator] = []
        if options.token_auth_file is not None:
            ways.append(token_file(options.token_auth_file, tokens.audiences))
        ways.append(tokens.authenticate)
        anonymous = options.anonymous_auth
        if options.secure_port and anonymous and "AlwaysAllow" in options.authorization_mode:
            # (pkg/kubeapiserver/options/authentication.go: ApplyAuthorization)
            anonymous = False
            log.warning(
                "AnonymousAuth is not allowed with the AlwaysAllow authorizer. Resetting AnonymousAuth to false. You "
                "should use a different authorizer"
            )
        authentication = Authentication(ways, audiences=tokens.audiences, anonymous=anonymous)
        return cls(authentication, _authorizer(options, verbs), tokens)

    async def request_token(self, request: Request, resource: Resource) -> Response:
        """A token for a service account. Raises ApiError."""
        if self.tokens is None:
            raise errors.no_such_path()
        return await self.tokens.request(request, resource)


def _authorizer(options: Options, verbs: Verbs) -> Authorizer:
    rbac = Rbac(verbs.cache)
    modes: dict[str, Authorizer] = {"AlwaysAllow": AlwaysAllow(), "AlwaysDeny": AlwaysDeny(), "RBAC": rbac}
    union = Union([modes[mode] for mode in options.authorization_mode])
    if "RBAC" in options.authorization_mode:
        for strategy in verbs.strategies.values():
            if isinstance(strategy, RbacStrategy):
                strategy.guard = union, rbac
    return union


def _token_options(options: Options) -> TokenOptions:
    return TokenOptions(
        signing_key_file=options.service_account_signing_key_file,
        key_files=options.service_account_key_file,
        issuers=options.service_account_issuer,
        audiences=options.api_audiences,
        max_seconds=int(options.service_account_max_token_expiration),
        extend=options.service_account_extend_token_expiration,
    )
