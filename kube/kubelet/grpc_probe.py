"""Asks gRPC's health service (grpc.health.v1) how a container is."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kube.kubelet.backoff import duration
from kube.kubelet.prober import USER_AGENT, Answer


async def ask(host: str, port: int, service: str, timeout: float) -> Answer:
    """Ask once, in upstream's words (pkg/probe/grpc). An answer that does not come in time is a failure."""
    address = f"{f'[{host}]' if ':' in host else host}:{port}"
    options = (("grpc.primary_user_agent", USER_AGENT), ("grpc.enable_http_proxy", 0))
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        try:
            answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            return Answer(False, _failure(error, address, timeout))
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if status == "SERVING":
        return Answer(True, "service healthy")
    return Answer(False, f'service unhealthy (responded with "{status}")')


def _failure(error: grpc.aio.AioRpcError, address: str, timeout: float) -> str:
    match error.code():
        case grpc.StatusCode.UNIMPLEMENTED:
            words = f"rpc error: code = Unimplemented desc = {error.details()}"
            return f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {words}"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"timeout: health rpc did not complete within {duration(timeout)}"
        case grpc.StatusCode.UNAVAILABLE:
            return f'error: failed to connect service at "{address}": {error.details()}'
    return f"error: health rpc failed: rpc error: code = {error.code().name} desc = {error.details()}"
