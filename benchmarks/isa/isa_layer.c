// A Vulkan layer that writes down what a driver's compiler makes of each compute pipeline, on drivers without hardware.
//
// Mesa's drivers can compile for a GPU that is not there (RADV_FORCE_FAMILY, or a drm-shim), and then say what came out
// (VK_KHR_pipeline_executable_properties). Such a device has no memory and no queue that runs anything, so wgpu loses
// it at once. This layer stands between Vulkan's loader and the driver. It asks for the statistics of every pipeline,
// and appends a line of JSON for each to the file that INTAGLIO_ISA names. In the place of the driver it hands out
// memory, semaphores and fences, and drops what is recorded and submitted: wgpu's device lives, and runs nothing.
//
// One process has one instance, one device, and compiles one pipeline at a time, so globals hold the next functions.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define MOST_EXTENSIONS 256

static PFN_vkGetInstanceProcAddr next_instance_proc_addr;
static PFN_vkGetDeviceProcAddr next_device_proc_addr;
static PFN_vkCreateDevice next_create_device;
static PFN_vkCreateComputePipelines next_create_compute_pipelines;
static PFN_vkDestroyPipeline next_destroy_pipeline;
static PFN_vkGetBufferMemoryRequirements next_buffer_requirements;
static PFN_vkGetImageMemoryRequirements next_image_requirements;
static PFN_vkGetPipelineExecutablePropertiesKHR get_properties;
static PFN_vkGetPipelineExecutableStatisticsKHR get_statistics;
static PFN_vkGetPipelineExecutableInternalRepresentationsKHR get_representations;

// ---- What came out: a line of JSON for each pipeline

static void write_string(FILE *file, const char *text, size_t length) {
  fputc('"', file);
  for (size_t i = 0; i < length && text[i]; i++) {
    unsigned char c = text[i];
    if (c == '"' || c == '\\') {
      fprintf(file, "\\%c", c);
    } else if (c < 0x20 || c > 0x7e) {
      fprintf(file, "\\u%04x", c);
    } else {
      fputc(c, file);
    }
  }
  fputc('"', file);
}

static void write_statistic(FILE *file, const VkPipelineExecutableStatisticKHR *statistic) {
  write_string(file, statistic->name, VK_MAX_DESCRIPTION_SIZE);
  switch (statistic->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
      fprintf(file, ": %u", statistic->value.b32);
      break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
      fprintf(file, ": %lld", (long long)statistic->value.i64);
      break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
      fprintf(file, ": %llu", (unsigned long long)statistic->value.u64);
      break;
    default:
      fprintf(file, ": %.17g", statistic->value.f64);
  }
}

static void write_statistics(FILE *file, VkDevice device, const VkPipelineExecutableInfoKHR *executable) {
  uint32_t count = 0;
  get_statistics(device, executable, &count, NULL);
  VkPipelineExecutableStatisticKHR *statistics = calloc(count, sizeof *statistics);
  for (uint32_t i = 0; i < count; i++) statistics[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
  get_statistics(device, executable, &count, statistics);
  for (uint32_t i = 0; i < count; i++) {
    fputs(i ? ", " : "", file);
    write_statistic(file, &statistics[i]);
  }
  free(statistics);
}

// The last text of a driver is the one that is closest to the machine: its assembly.
static void write_assembly(FILE *file, VkDevice device, const VkPipelineExecutableInfoKHR *executable) {
  uint32_t count = 0;
  get_representations(device, executable, &count, NULL);
  if (!count) {
    fputs("\"\"", file);
    return;
  }
  VkPipelineExecutableInternalRepresentationKHR *texts = calloc(count, sizeof *texts);
  for (uint32_t i = 0; i < count; i++) {
    texts[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR;
  }
  get_representations(device, executable, &count, texts);
  VkPipelineExecutableInternalRepresentationKHR *last = &texts[count - 1];
  for (uint32_t i = 0; i < count; i++) texts[i].pData = calloc(1, texts[i].dataSize + 1);
  get_representations(device, executable, &count, texts);
  write_string(file, last->pData, last->dataSize);
  for (uint32_t i = 0; i < count; i++) free(texts[i].pData);
  free(texts);
}

// Intel's driver has an executable for each width of its SIMD; others have one.
static void write_pipeline(VkDevice device, VkPipeline pipeline, double seconds) {
  const char *path = getenv("INTAGLIO_ISA");
  FILE *file = path ? fopen(path, "a") : NULL;
  if (!file) return;
  VkPipelineInfoKHR info = {VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, NULL, pipeline};
  uint32_t count = 0;
  get_properties(device, &info, &count, NULL);
  VkPipelineExecutablePropertiesKHR *properties = calloc(count, sizeof *properties);
  for (uint32_t i = 0; i < count; i++) properties[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR;
  get_properties(device, &info, &count, properties);
  fprintf(file, "{\"seconds\": %.6f, \"executables\": [", seconds);
  for (uint32_t i = 0; i < count; i++) {
    VkPipelineExecutableInfoKHR executable = {VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, NULL, pipeline, i};
    fprintf(file, "%s{\"subgroup\": %u, \"statistics\": {", i ? ", " : "", properties[i].subgroupSize);
    write_statistics(file, device, &executable);
    fputs("}, \"assembly\": ", file);
    write_assembly(file, device, &executable);
    fputc('}', file);
  }
  fputs("]}\n", file);
  free(properties);
  fclose(file);
}

// ---- Between wgpu and the driver: instance, device, pipelines

static const void *chained(const void *chain, VkStructureType type) {
  for (const VkBaseInStructure *item = chain; item; item = item->pNext) {
    // Both kinds of link have `function` in the same place.
    if (item->sType == type && ((const VkLayerInstanceCreateInfo *)item)->function == VK_LAYER_LINK_INFO) return item;
  }
  return NULL;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info,
                                                      const VkAllocationCallbacks *allocator, VkInstance *instance) {
  VkLayerInstanceCreateInfo *link =
      (VkLayerInstanceCreateInfo *)chained(info->pNext, VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO);
  if (!link) return VK_ERROR_INITIALIZATION_FAILED;
  next_instance_proc_addr = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;

  PFN_vkCreateInstance create = (PFN_vkCreateInstance)next_instance_proc_addr(VK_NULL_HANDLE, "vkCreateInstance");
  VkResult result = create(info, allocator, instance);
  if (result != VK_SUCCESS) return result;
  next_create_device = (PFN_vkCreateDevice)next_instance_proc_addr(*instance, "vkCreateDevice");
  return VK_SUCCESS;
}

static void find_device_functions(VkDevice device) {
#define FIND(variable, name) variable = (PFN_##name)next_device_proc_addr(device, #name)
  FIND(next_create_compute_pipelines, vkCreateComputePipelines);
  FIND(next_destroy_pipeline, vkDestroyPipeline);
  FIND(next_buffer_requirements, vkGetBufferMemoryRequirements);
  FIND(next_image_requirements, vkGetImageMemoryRequirements);
  FIND(get_properties, vkGetPipelineExecutablePropertiesKHR);
  FIND(get_statistics, vkGetPipelineExecutableStatisticsKHR);
  FIND(get_representations, vkGetPipelineExecutableInternalRepresentationsKHR);
#undef FIND
}

// Adds the extension with the statistics to those that wgpu asks for.
static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *allocator, VkDevice *device) {
  VkLayerDeviceCreateInfo *link =
      (VkLayerDeviceCreateInfo *)chained(info->pNext, VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO);
  if (!link || info->enabledExtensionCount >= MOST_EXTENSIONS) return VK_ERROR_INITIALIZATION_FAILED;
  next_device_proc_addr = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;

  const char *extensions[MOST_EXTENSIONS];
  memcpy(extensions, info->ppEnabledExtensionNames, info->enabledExtensionCount * sizeof *extensions);
  extensions[info->enabledExtensionCount] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR feature = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR, (void *)info->pNext, VK_TRUE};
  VkDeviceCreateInfo changed = *info;
  changed.pNext = &feature;
  changed.enabledExtensionCount = info->enabledExtensionCount + 1;
  changed.ppEnabledExtensionNames = extensions;

  VkResult result = next_create_device(physical, &changed, allocator, device);
  if (result == VK_SUCCESS) find_device_functions(*device);
  return result;
}

static double processor_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec + now.tv_nsec * 1e-9;
}

// Compiles a pipeline twice: as wgpu asks, for the time, and with its statistics and its text, which take time of their
// own. Neither uses a cache, or there would be nothing to time.
static VkResult create_compute_pipeline(VkDevice device, const VkComputePipelineCreateInfo *info,
                                        const VkAllocationCallbacks *allocator, VkPipeline *pipeline) {
  double begin = processor_seconds();
  VkResult result = next_create_compute_pipelines(device, VK_NULL_HANDLE, 1, info, allocator, pipeline);
  double seconds = processor_seconds() - begin;
  if (result != VK_SUCCESS) return result;

  VkComputePipelineCreateInfo described = *info;
  described.flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
  described.flags |= VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR;
  VkPipeline copy;
  if (next_create_compute_pipelines(device, VK_NULL_HANDLE, 1, &described, allocator, &copy) == VK_SUCCESS) {
    write_pipeline(device, copy, seconds);
    next_destroy_pipeline(device, copy, allocator);
  }
  return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_compute_pipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                                                               const VkComputePipelineCreateInfo *infos,
                                                               const VkAllocationCallbacks *allocator,
                                                               VkPipeline *pipelines) {
  (void)cache;
  VkResult result = VK_SUCCESS;
  for (uint32_t i = 0; i < count && result == VK_SUCCESS; i++) {
    result = create_compute_pipeline(device, &infos[i], allocator, &pipelines[i]);
  }
  return result;
}

// ---- In the place of hardware: memory of the host, and work that is done at once

static VKAPI_ATTR void VKAPI_CALL get_memory(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties *properties) {
  (void)device;
  memset(properties, 0, sizeof *properties);
  properties->memoryTypeCount = properties->memoryHeapCount = 1;
  properties->memoryTypes[0].propertyFlags =
      VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  properties->memoryHeaps[0].size = 16ull << 30;
  properties->memoryHeaps[0].flags = VK_MEMORY_HEAP_DEVICE_LOCAL_BIT;
}

static VKAPI_ATTR void VKAPI_CALL get_memory2(VkPhysicalDevice device, VkPhysicalDeviceMemoryProperties2 *properties) {
  get_memory(device, &properties->memoryProperties);
}

static VKAPI_ATTR void VKAPI_CALL get_buffer_requirements(VkDevice device, VkBuffer buffer,
                                                          VkMemoryRequirements *requirements) {
  next_buffer_requirements(device, buffer, requirements);
  requirements->memoryTypeBits = 1;
}

static VKAPI_ATTR void VKAPI_CALL get_image_requirements(VkDevice device, VkImage image,
                                                         VkMemoryRequirements *requirements) {
  next_image_requirements(device, image, requirements);
  requirements->memoryTypeBits = 1;
}

static VKAPI_ATTR void VKAPI_CALL get_buffer_requirements2(VkDevice device, const VkBufferMemoryRequirementsInfo2 *info,
                                                           VkMemoryRequirements2 *requirements) {
  get_buffer_requirements(device, info->buffer, &requirements->memoryRequirements);
}

static VKAPI_ATTR void VKAPI_CALL get_image_requirements2(VkDevice device, const VkImageMemoryRequirementsInfo2 *info,
                                                          VkMemoryRequirements2 *requirements) {
  get_image_requirements(device, info->image, &requirements->memoryRequirements);
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_memory(VkDevice device, const VkMemoryAllocateInfo *info,
                                                      const VkAllocationCallbacks *allocator, VkDeviceMemory *memory) {
  (void)device, (void)allocator;
  void *bytes = calloc(1, info->allocationSize);
  *memory = (VkDeviceMemory)bytes;
  return bytes ? VK_SUCCESS : VK_ERROR_OUT_OF_DEVICE_MEMORY;
}

static VKAPI_ATTR void VKAPI_CALL free_memory(VkDevice device, VkDeviceMemory memory,
                                              const VkAllocationCallbacks *allocator) {
  (void)device, (void)allocator;
  free((void *)memory);
}

static VKAPI_ATTR VkResult VKAPI_CALL map_memory(VkDevice device, VkDeviceMemory memory, VkDeviceSize offset,
                                                 VkDeviceSize size, VkMemoryMapFlags flags, void **data) {
  (void)device, (void)size, (void)flags;
  *data = (char *)memory + offset;
  return VK_SUCCESS;
}

// A semaphore or a fence: a handle that no other one has.
static VKAPI_ATTR VkResult VKAPI_CALL create_handle(VkDevice device, const void *info,
                                                    const VkAllocationCallbacks *allocator, uint64_t *handle) {
  (void)device, (void)info, (void)allocator;
  static uint64_t last;
  *handle = ++last;
  return VK_SUCCESS;
}

// wgpu counts its submissions with a semaphore: each of them is past.
static VKAPI_ATTR VkResult VKAPI_CALL get_counter(VkDevice device, VkSemaphore semaphore, uint64_t *value) {
  (void)device, (void)semaphore;
  *value = UINT32_MAX;
  return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL succeed(void) { return VK_SUCCESS; }
static VKAPI_ATTR void VKAPI_CALL do_nothing(void) {}

// ---- Functions by name

#define OURS(name, function) {name, (PFN_vkVoidFunction)function}
static const struct {
  const char *name;
  PFN_vkVoidFunction function;
} OURS[] = {
    OURS("vkCreateInstance", create_instance),
    OURS("vkCreateDevice", create_device),
    OURS("vkCreateComputePipelines", create_compute_pipelines),
    OURS("vkGetPhysicalDeviceMemoryProperties", get_memory),
    OURS("vkGetPhysicalDeviceMemoryProperties2", get_memory2),
    OURS("vkGetPhysicalDeviceMemoryProperties2KHR", get_memory2),
    OURS("vkGetBufferMemoryRequirements", get_buffer_requirements),
    OURS("vkGetBufferMemoryRequirements2", get_buffer_requirements2),
    OURS("vkGetBufferMemoryRequirements2KHR", get_buffer_requirements2),
    OURS("vkGetImageMemoryRequirements", get_image_requirements),
    OURS("vkGetImageMemoryRequirements2", get_image_requirements2),
    OURS("vkGetImageMemoryRequirements2KHR", get_image_requirements2),
    OURS("vkAllocateMemory", allocate_memory),
    OURS("vkFreeMemory", free_memory),
    OURS("vkMapMemory", map_memory),
    OURS("vkUnmapMemory", do_nothing),
    OURS("vkBindBufferMemory", succeed),
    OURS("vkBindBufferMemory2", succeed),
    OURS("vkBindBufferMemory2KHR", succeed),
    OURS("vkBindImageMemory", succeed),
    OURS("vkBindImageMemory2", succeed),
    OURS("vkBindImageMemory2KHR", succeed),
    OURS("vkUpdateDescriptorSets", do_nothing),
    OURS("vkCreateSemaphore", create_handle),
    OURS("vkDestroySemaphore", do_nothing),
    OURS("vkGetSemaphoreCounterValue", get_counter),
    OURS("vkGetSemaphoreCounterValueKHR", get_counter),
    OURS("vkWaitSemaphores", succeed),
    OURS("vkWaitSemaphoresKHR", succeed),
    OURS("vkCreateFence", create_handle),
    OURS("vkDestroyFence", do_nothing),
    OURS("vkResetFences", succeed),
    OURS("vkWaitForFences", succeed),
    OURS("vkGetFenceStatus", succeed),
    OURS("vkBeginCommandBuffer", succeed),
    OURS("vkEndCommandBuffer", succeed),
    OURS("vkResetCommandBuffer", succeed),
    OURS("vkResetCommandPool", succeed),
    OURS("vkQueueSubmit", succeed),
    OURS("vkQueueSubmit2", succeed),
    OURS("vkQueueSubmit2KHR", succeed),
    OURS("vkQueueWaitIdle", succeed),
    OURS("vkDeviceWaitIdle", succeed),
};
#undef OURS

static PFN_vkVoidFunction ours(const char *name) {
  if (!strncmp(name, "vkCmd", strlen("vkCmd"))) return (PFN_vkVoidFunction)do_nothing;  // what is recorded
  for (size_t i = 0; i < sizeof OURS / sizeof *OURS; i++) {
    if (!strcmp(name, OURS[i].name)) return OURS[i].function;
  }
  return NULL;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_device_proc_addr(VkDevice device, const char *name) {
  if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)get_device_proc_addr;
  PFN_vkVoidFunction function = ours(name);
  return function ? function : next_device_proc_addr(device, name);
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL get_instance_proc_addr(VkInstance instance, const char *name) {
  if (!strcmp(name, "vkGetInstanceProcAddr")) return (PFN_vkVoidFunction)get_instance_proc_addr;
  if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)get_device_proc_addr;
  PFN_vkVoidFunction function = ours(name);
  if (function) return function;
  return next_instance_proc_addr ? next_instance_proc_addr(instance, name) : NULL;
}

// The one function that the loader looks for by name.
VK_LAYER_EXPORT VKAPI_ATTR VkResult VKAPI_CALL
vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *interface) {
  interface->loaderLayerInterfaceVersion = 2;
  interface->pfnGetInstanceProcAddr = get_instance_proc_addr;
  interface->pfnGetDeviceProcAddr = get_device_proc_addr;
  interface->pfnGetPhysicalDeviceProcAddr = NULL;
  return VK_SUCCESS;
}
