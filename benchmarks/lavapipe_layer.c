// A Vulkan layer that lets Dawn run on Mesa's lavapipe, so that engines built on Dawn can be measured on the same
// adapter as everyone else. Dawn refuses a device without dynamic indexing of arrays of images; lavapipe of Mesa 22 and
// 23 does not report that. No compute shader that these engines write indexes such an array, so the layer reports the
// two features as there, and takes them out again when a device is created, before the driver sees them.
//
// It stands between Vulkan's loader and the driver, and knows both only by the functions below it. The loader's own
// functions are the same for every instance, so one set of pointers serves them all.

#include <string.h>

#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

static PFN_vkGetInstanceProcAddr next_instance_proc_addr;
static PFN_vkGetDeviceProcAddr next_device_proc_addr;
static PFN_vkCreateDevice next_create_device;
static PFN_vkGetPhysicalDeviceFeatures next_features;
static PFN_vkGetPhysicalDeviceFeatures2 next_features2;

static void claim(VkPhysicalDeviceFeatures *features) {
  features->shaderSampledImageArrayDynamicIndexing = VK_TRUE;
  features->shaderStorageImageArrayDynamicIndexing = VK_TRUE;
}

// Leaves of the two features what the driver has.
static void withdraw(VkPhysicalDeviceFeatures *wanted, const VkPhysicalDeviceFeatures *real) {
  wanted->shaderSampledImageArrayDynamicIndexing &= real->shaderSampledImageArrayDynamicIndexing;
  wanted->shaderStorageImageArrayDynamicIndexing &= real->shaderStorageImageArrayDynamicIndexing;
}

static VKAPI_ATTR void VKAPI_CALL get_features(VkPhysicalDevice device, VkPhysicalDeviceFeatures *features) {
  next_features(device, features);
  claim(features);
}

static VKAPI_ATTR void VKAPI_CALL get_features2(VkPhysicalDevice device, VkPhysicalDeviceFeatures2 *features) {
  next_features2(device, features);
  claim(&features->features);
}

// The loader hands every layer the function below it in a chain of links; each layer takes its own and moves the chain on.
static void *link_of(const void *chain, VkStructureType type) {
  for (const VkBaseInStructure *item = chain; item; item = item->pNext) {
    // Both kinds of create info begin alike, up to their union.
    if (item->sType == type && ((const VkLayerInstanceCreateInfo *)item)->function == VK_LAYER_LINK_INFO) return (void *)item;
  }
  return NULL;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *allocator, VkInstance *instance) {
  VkLayerInstanceCreateInfo *link = link_of(info->pNext, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
  if (!link) return VK_ERROR_INITIALIZATION_FAILED;
  next_instance_proc_addr = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;

  PFN_vkCreateInstance create = (PFN_vkCreateInstance)next_instance_proc_addr(VK_NULL_HANDLE, "vkCreateInstance");
  VkResult result = create(info, allocator, instance);
  if (result != VK_SUCCESS) return result;
  next_create_device = (PFN_vkCreateDevice)next_instance_proc_addr(*instance, "vkCreateDevice");
  next_features = (PFN_vkGetPhysicalDeviceFeatures)next_instance_proc_addr(*instance, "vkGetPhysicalDeviceFeatures");
  PFN_vkVoidFunction features2 = next_instance_proc_addr(*instance, "vkGetPhysicalDeviceFeatures2");
  if (!features2) features2 = next_instance_proc_addr(*instance, "vkGetPhysicalDeviceFeatures2KHR");
  next_features2 = (PFN_vkGetPhysicalDeviceFeatures2)features2;
  return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator, VkDevice *device) {
  VkLayerDeviceCreateInfo *link = link_of(info->pNext, VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
  if (!link) return VK_ERROR_INITIALIZATION_FAILED;
  next_device_proc_addr = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;

  VkPhysicalDeviceFeatures real, wanted;
  next_features(physical, &real);
  // Features are asked for in one of two places: in the info itself, or in a structure chained to it.
  VkDeviceCreateInfo changed = *info;
  if (info->pEnabledFeatures) {
    wanted = *info->pEnabledFeatures;
    withdraw(&wanted, &real);
    changed.pEnabledFeatures = &wanted;
  }
  for (VkBaseOutStructure *item = (VkBaseOutStructure *)info->pNext; item; item = item->pNext) {
    if (item->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2) {
      withdraw(&((VkPhysicalDeviceFeatures2 *)item)->features, &real);
    }
  }
  return next_create_device(physical, &changed, allocator, device);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc_addr(VkDevice device, const char *name) {
  if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)get_device_proc_addr;
  return next_device_proc_addr(device, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_proc_addr(VkInstance instance, const char *name) {
  static const struct {
    const char *name;
    PFN_vkVoidFunction function;
  } ours[] = {
      {"vkGetInstanceProcAddr", (PFN_vkVoidFunction)get_instance_proc_addr},
      {"vkGetDeviceProcAddr", (PFN_vkVoidFunction)get_device_proc_addr},
      {"vkCreateInstance", (PFN_vkVoidFunction)create_instance},
      {"vkCreateDevice", (PFN_vkVoidFunction)create_device},
      {"vkGetPhysicalDeviceFeatures", (PFN_vkVoidFunction)get_features},
      {"vkGetPhysicalDeviceFeatures2", (PFN_vkVoidFunction)get_features2},
      {"vkGetPhysicalDeviceFeatures2KHR", (PFN_vkVoidFunction)get_features2},
  };
  for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
    if (!strcmp(name, ours[i].name)) return ours[i].function;
  }
  return next_instance_proc_addr ? next_instance_proc_addr(instance, name) : NULL;
}

// The one function that the loader looks for by name.
__attribute__((visibility("default"))) VKAPI_ATTR VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *interface) {
  interface->loaderLayerInterfaceVersion = 2;
  interface->pfnGetInstanceProcAddr = get_instance_proc_addr;
  interface->pfnGetDeviceProcAddr = get_device_proc_addr;
  interface->pfnGetPhysicalDeviceProcAddr = NULL;
  return VK_SUCCESS;
}
