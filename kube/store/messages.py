"""etcd's messages: those that the store sends and reads, with the fields that it looks at.

What a message has is said here in lines of name, number and type, as etcd's rpc.proto and kv.proto say it; protobuf
skips what it is not told of. (That they are the same on the wire is what the contract's suite over a real etcd shows.)
Fields are declared as proto2's: what is set is sent, also a zero, as etcd's `oneof`s want it.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_MESSAGES = """
KeyValue: key 1 bytes, create_revision 2 int64, mod_revision 3 int64, value 5 bytes, lease 6 int64
Event: type 1 int32, kv 2 KeyValue, prev_kv 3 KeyValue
ResponseHeader: revision 3 int64

RangeRequest: key 1 bytes, range_end 2 bytes, limit 3 int64, revision 4 int64, count_only 9 bool
RangeResponse: header 1 ResponseHeader, kvs 2 *KeyValue, more 3 bool, count 4 int64

PutRequest: key 1 bytes, value 2 bytes, lease 3 int64
DeleteRangeRequest: key 1 bytes, range_end 2 bytes
RequestOp: request_range 1 RangeRequest, request_put 2 PutRequest, request_delete_range 3 DeleteRangeRequest
ResponseOp: response_range 1 RangeResponse
Compare: result 1 int32, target 2 int32, key 3 bytes, mod_revision 6 int64
TxnRequest: compare 1 *Compare, success 2 *RequestOp, failure 3 *RequestOp
TxnResponse: header 1 ResponseHeader, succeeded 2 bool, responses 3 *ResponseOp

CompactionRequest: revision 1 int64
CompactionResponse: header 1 ResponseHeader
LeaseGrantRequest: TTL 1 int64
LeaseGrantResponse: header 1 ResponseHeader, ID 2 int64, TTL 3 int64

WatchCreateRequest: key 1 bytes, range_end 2 bytes, start_revision 3 int64, progress_notify 4 bool, prev_kv 6 bool
WatchRequest: create_request 1 WatchCreateRequest
WatchResponse: header 1 ResponseHeader, created 3 bool, canceled 4 bool, compact_revision 5 int64, \
cancel_reason 6 string, events 11 *Event
"""

_PACKAGE = "kube.etcd"


def _classes() -> dict[str, Any]:
    """The classes of the messages, by name."""
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="kube/etcd.proto", package=_PACKAGE, syntax="proto2")
    for line in filter(None, _MESSAGES.splitlines()):
        name, _, fields = line.partition(": ")
        message = file.message_type.add(name=name)
        for each in fields.split(", "):
            field, number, type_ = each.split()
            label = field_type.LABEL_REPEATED if type_[0] == "*" else field_type.LABEL_OPTIONAL
            added = message.field.add(name=field, number=int(number), label=label)
            if type_.lstrip("*")[0].isupper():
                added.type, added.type_name = field_type.TYPE_MESSAGE, f".{_PACKAGE}.{type_.lstrip('*')}"
            else:
                added.type = field_type.Type.Value(f"TYPE_{type_.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        each.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{each.name}"))
        for each in file.message_type
    }


_classes_by_name = _classes()
RangeRequest: Any = _classes_by_name["RangeRequest"]
RangeResponse: Any = _classes_by_name["RangeResponse"]
TxnRequest: Any = _classes_by_name["TxnRequest"]
TxnResponse: Any = _classes_by_name["TxnResponse"]
CompactionRequest: Any = _classes_by_name["CompactionRequest"]
CompactionResponse: Any = _classes_by_name["CompactionResponse"]
LeaseGrantRequest: Any = _classes_by_name["LeaseGrantRequest"]
LeaseGrantResponse: Any = _classes_by_name["LeaseGrantResponse"]
WatchRequest: Any = _classes_by_name["WatchRequest"]
WatchCreateRequest: Any = _classes_by_name["WatchCreateRequest"]
WatchResponse: Any = _classes_by_name["WatchResponse"]

EQUAL = 0
"""Compare.result"""
MOD = 2
"""Compare.target: the key's mod_revision"""
DELETE = 1
"""Event.type"""
