"""Rules for a pod's volumes, and for how containers mount them."""

from __future__ import annotations

from kube.api import core, names, quantity
from kube.api.container import AnyContainer
from kube.api.errors import (
    duplicate,
    field_forbidden,
    field_not_found,
    invalid,
    not_supported,
    required,
)
from kube.api.meta import Model
from kube.api.validation import downward
from kube.api.validation.meta import Errors, each

_FILE_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)

# What must be given for each kind of volume; the kinds in the order in which upstream looks at them.
_REQUIRED: dict[str, tuple[str, ...]] = {
    "emptyDir": (),
    "hostPath": ("path",),
    "gitRepo": ("repository",),
    "gcePersistentDisk": ("pdName",),
    "awsElasticBlockStore": ("volumeID",),
    "secret": ("secretName",),
    "nfs": ("server", "path"),
    "iscsi": ("targetPortal", "iqn"),
    "glusterfs": ("endpoints", "path"),
    "flocker": (),
    "persistentVolumeClaim": ("claimName",),
    "rbd": ("monitors", "image"),
    "cinder": ("volumeID",),
    "cephfs": ("monitors",),
    "quobyte": ("registry", "volume"),
    "downwardAPI": (),
    "fc": (),
    "flexVolume": ("driver",),
    "configMap": ("name",),
    "azureFile": ("secretName", "shareName"),
    "vsphereVolume": ("volumePath",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "storageos": ("volumeName",),
    "projected": (),
    "scaleIO": ("gateway", "system", "volumeName"),
    "csi": ("driver",),
    "ephemeral": ("volumeClaimTemplate",),
    "image": (),
}


_PROJECTIONS = tuple(core.VolumeProjection.model_fields)
"""What a part of a projected volume may be. (To ask the class each time takes 30 µs, and every pod has three.)"""


def volumes(path: str, wanted: list[core.Volume], pod_name: str = "", *, is_pod: bool = True) -> Errors:
    """The volumes of a pod."""
    seen: set[str] = set()
    for i, volume in enumerate(wanted):
        where = f"{path}[{i}]"
        yield from _source(where, volume, pod_name, is_pod)
        if not volume.name:
            yield required(f"{where}.name")
        else:
            yield from each(f"{where}.name", volume.name, names.dns_label(volume.name))
        if volume.name in seen:
            yield duplicate(f"{where}.name", volume.name)
        seen.add(volume.name)


def _source(path: str, volume: core.Volume, pod_name: str, is_pod: bool) -> Errors:
    kinds = [kind for kind in _REQUIRED if getattr(volume, kind) is not None]
    if not kinds:
        yield required(path, "must specify a volume type")
        return
    for kind in kinds[1:]:
        yield field_forbidden(f"{path}.{kind}", "may not specify more than 1 volume type")
    kind = kinds[0]
    source: Model = getattr(volume, kind)
    where = f"{path}.{kind}"
    for name in _REQUIRED[kind]:
        if not getattr(source, name):
            yield required(f"{where}.{name}")
    match source:
        case core.EmptyDirVolumeSource(sizeLimit=str() as limit) if quantity.parse(limit) < 0:
            yield field_forbidden(f"{where}.sizeLimit", "SizeLimit field must be a valid resource quantity")
        case core.HostPathVolumeSource() if source.path:
            yield from no_backsteps(f"{where}.path", source.path)
            if source.type is not None and source.type not in _HOST_PATH_TYPES:
                yield not_supported(f"{where}.type", source.type, _HOST_PATH_TYPES)
        case core.NFSVolumeSource() if source.path and not source.path.startswith("/"):
            yield invalid(f"{where}.path", source.path, "must be an absolute path")
        case core.GitRepoVolumeSource():
            yield from relative_path(f"{where}.directory", source.directory)
        case core.SecretVolumeSource() | core.ConfigMapVolumeSource():
            yield from _mode(f"{where}.defaultMode", source.defaultMode)
            yield from _items(f"{where}.items", source.items)
        case core.DownwardAPIVolumeSource():
            yield from _mode(f"{where}.defaultMode", source.defaultMode)
            yield from _downward_files(f"{where}.items", source.items)
        case core.ProjectedVolumeSource():
            yield from _projected(where, source)
        case core.EphemeralVolumeSource() if pod_name and volume.name:
            claim = f"{pod_name}-{volume.name}"
            for problem in names.dns_subdomain(claim):
                yield invalid(f"{path}.name", volume.name, f'PVC name "{claim}": {problem}')
        case core.ImageVolumeSource():
            if is_pod and not source.reference:
                yield required(f"{where}.reference")
            yield from pull_policy(f"{where}.pullPolicy", source.pullPolicy)
        case _:
            pass


def pull_policy(field: str, policy: str) -> Errors:
    """When an image is pulled."""
    if not policy:
        yield required(field)
    elif policy not in ("Always", "IfNotPresent", "Never"):
        yield not_supported(field, policy, ("Always", "IfNotPresent", "Never"))


def no_backsteps(field: str, path: str) -> Errors:
    """A path that does not climb."""
    if ".." in path.split("/"):
        yield invalid(field, path, "must not contain '..'")


def relative_path(field: str, path: str) -> Errors:
    """A path that stays below where it begins."""
    if path.startswith("/"):
        yield invalid(field, path, "must be a relative path")
    yield from no_backsteps(field, path)


def _file_path(field: str, path: str) -> Errors:
    yield from relative_path(field, path)
    # Names that begin with two dots are the kubelet's own, for swapping the content of a volume at once.
    if path.startswith("..") and not path.startswith("../"):
        yield invalid(field, path, "must not start with '..'")


def _mode(field: str, mode: int | None) -> Errors:
    if mode is not None and not 0 <= mode <= 0o777:
        yield invalid(field, mode, _FILE_MODE)


def _items(path: str, items: list[core.KeyToPath]) -> Errors:
    for i, item in enumerate(items):
        where = f"{path}[{i}]"
        if not item.key:
            yield required(f"{where}.key")
        if not item.path:
            yield required(f"{where}.path")
        yield from _file_path(f"{where}.path", item.path)
        yield from _mode(f"{where}.mode", item.mode)


def _downward_files(path: str, items: list[core.DownwardAPIVolumeFile]) -> Errors:
    for i, item in enumerate(items):
        where = f"{path}[{i}]"
        if not item.path:
            yield required(f"{where}.path")
        yield from _file_path(f"{where}.path", item.path)
        if item.fieldRef is not None:
            yield from downward.field_ref(f"{where}.fieldRef", item.fieldRef, downward.VOLUME_FIELDS)
            if item.resourceFieldRef is not None:
                yield invalid(where, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif item.resourceFieldRef is not None:
            yield from downward.resource_ref(f"{where}.resourceFieldRef", item.resourceFieldRef, in_volume=True)
        else:
            yield required(where, "one of fieldRef and resourceFieldRef is required")
        yield from _mode(f"{where}.mode", item.mode)


def _projected(path: str, projected: core.ProjectedVolumeSource) -> Errors:
    yield from _mode(f"{path}.defaultMode", projected.defaultMode)
    for i, part in enumerate(projected.sources):
        where = f"{path}.sources[{i}]"
        kinds = [kind for kind in _PROJECTIONS if getattr(part, kind) is not None]
        if not kinds:
            yield required(where, "must specify one of the volume sources")
        for kind in kinds[1:]:
            yield field_forbidden(f"{where}.{kind}", "may not specify more than 1 volume type per source")
        if part.secret is not None:
            if not part.secret.name:
                yield required(f"{where}.secret.name")
            yield from _items(f"{where}.secret.items", part.secret.items)
        if part.configMap is not None:
            if not part.configMap.name:
                yield required(f"{where}.configMap.name")
            yield from _items(f"{where}.configMap.items", part.configMap.items)
        if part.downwardAPI is not None:
            yield from _downward_files(f"{where}.downwardAPI.items", part.downwardAPI.items)
        if part.serviceAccountToken is not None:
            yield from _token(f"{where}.serviceAccountToken", part.serviceAccountToken)


def _token(path: str, token: core.ServiceAccountTokenProjection) -> Errors:
    seconds = token.expirationSeconds
    if seconds is not None and seconds < 600:
        yield invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds is not None and seconds > 1 << 32:
        yield invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")
    if not token.path:
        yield required(f"{path}.path")
    else:
        yield from _file_path(f"{path}.path", token.path)


def mounts(path: str, container: AnyContainer, known: dict[str, core.Volume]) -> Errors:
    """The volumes that a container mounts: each must be one of the pod's, and each path its own."""
    devices = {device.name: device.devicePath for device in container.volumeDevices}
    seen: set[str] = set()
    for i, mount in enumerate(container.volumeMounts):
        where = f"{path}[{i}]"
        if not mount.name:
            yield required(f"{where}.name")
        if mount.name not in known:
            yield field_not_found(f"{where}.name", mount.name)
        if not mount.mountPath:
            yield required(f"{where}.mountPath")
        if mount.mountPath in seen:
            yield invalid(f"{where}.mountPath", mount.mountPath, "must be unique")
        seen.add(mount.mountPath)
        if mount.name in devices:
            yield invalid(f"{where}.name", mount.name, "must not already exist in volumeDevices")
        if mount.mountPath in devices.values():
            yield invalid(f"{where}.mountPath", mount.mountPath, "must not already exist as a path in volumeDevices")
        if mount.subPath:
            yield from relative_path(f"{path}.subPath", mount.subPath)
        if mount.subPathExpr:
            if mount.subPath:
                detail = "subPathExpr and subPath are mutually exclusive"
                yield invalid(f"{where}.subPathExpr", mount.subPathExpr, detail)
            yield from relative_path(f"{path}.subPathExpr", mount.subPathExpr)
        yield from _propagation(path, mount, container)


_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")


def _propagation(path: str, mount: core.VolumeMount, container: AnyContainer) -> Errors:
    how = mount.mountPropagation
    if how is not None:
        privileged = container.securityContext is not None and container.securityContext.privileged
        if how not in _PROPAGATIONS:
            yield not_supported(f"{path}.mountPropagation", how, _PROPAGATIONS)
        elif how == "Bidirectional" and not privileged:
            detail = "Bidirectional mount propagation is available only to privileged containers"
            yield field_forbidden(f"{path}.mountPropagation", detail)
    recursive, field = mount.recursiveReadOnly, f"{path}.recursiveReadOnly"
    if recursive in ("Enabled", "IfPossible"):
        if not mount.readOnly:
            yield field_forbidden(field, "may only be specified when readOnly is true")
        if how not in (None, "None"):
            yield field_forbidden(field, "may only be specified when mountPropagation is None or not specified")
    elif recursive not in (None, "Disabled"):
        yield not_supported(field, recursive, ("Disabled", "IfPossible", "Enabled"))


def devices(path: str, container: AnyContainer, known: dict[str, core.Volume]) -> Errors:
    """The block devices that a container sees: each must be a claim of the pod."""
    mounted = {mount.name: mount.mountPath for mount in container.volumeMounts}
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    for i, device in enumerate(container.volumeDevices):
        where = f"{path}[{i}]"
        volume = known.get(device.name)
        if not device.name:
            yield required(f"{where}.name")
        if device.name in seen_names:
            yield invalid(f"{where}.name", device.name, "must be unique")
        if volume is None:
            yield field_not_found(f"{where}.name", device.name)
        elif volume.persistentVolumeClaim is None and volume.ephemeral is None:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            yield invalid(f"{where}.name", device.name, detail)
        if not device.devicePath:
            yield required(f"{where}.devicePath")
        if device.devicePath in seen_paths:
            yield invalid(f"{where}.devicePath", device.devicePath, "must be unique")
        if ".." in device.devicePath.split("/"):
            yield invalid(f"{where}.devicePath", device.devicePath, "can not contain backsteps ('..')")
        else:
            seen_paths.add(device.devicePath)
        if device.name in mounted:
            yield invalid(f"{where}.name", device.name, "must not already exist in volumeMounts")
        if device.devicePath in mounted.values():
            yield invalid(f"{where}.devicePath", device.devicePath, "must not already exist as a path in volumeMounts")
        if device.name:
            seen_names.add(device.name)
